"""JSON records, lists, questions and answers, each after the line that asks for it."""

import json

from jax_backend.training.text.chance import Chance
from jax_backend.training.text.words import (
    BOYS,
    CITIES,
    COLOUR_OF,
    COLOURS,
    DAYS,
    GIRLS,
    HOBBIES,
    JOBS,
    KINDS_OF_PLACES,
    LEGS,
    LISTS,
    MATERIALS,
    NUMBERS,
    OPPOSITES,
    SOUNDS,
    TOYS,
    a,
)


def record(chance: Chance) -> str:
    """A request for a record of a person, a place or a thing, and the record."""
    return chance.pick([person, place, thing])(chance)


def person(chance: Chance) -> str:
    name = chance.pick(GIRLS + BOYS)
    asked = [f"Write a JSON record of a person named {name}.", "Write a JSON record of a person."]
    fields = {
        "name": name,
        "age": chance.number(18, 80),
        "job": chance.pick(JOBS),
        "city": chance.pick(CITIES),
        "hobbies": chance.several(HOBBIES, chance.number(1, 3)),
        "married": chance.happens(0.5),
    }
    return f"{chance.pick(asked)}\n{json.dumps(fields)}"


def place(chance: Chance) -> str:
    kind, city = chance.pick(KINDS_OF_PLACES), chance.pick(CITIES)
    asked = [
        f"Write a JSON record of {a(kind)} in {city}.",
        f"Write a JSON record of {a(kind)}.",
        "Write a JSON record of a place.",
    ]
    opens = chance.number(6, 11)
    fields = {
        "name": f"{city} {kind.capitalize()}",
        "kind": kind,
        "city": city,
        "opens": opens,
        "closes": opens + chance.number(6, 12),
        "free": chance.happens(0.5),
    }
    return f"{chance.pick(asked)}\n{json.dumps(fields)}"


def thing(chance: Chance) -> str:
    name, colour = chance.pick(TOYS), chance.pick(COLOURS)
    asked = [
        f"Write a JSON record of {a(colour)} {name}.",
        f"Write a JSON record of {a(name)}.",
        "Write a JSON record of a thing.",
    ]
    fields = {
        "name": name,
        "colour": colour,
        "material": chance.pick(MATERIALS),
        "price": chance.number(1, 40) / 2,
        "owner": chance.pick([None, *GIRLS, *BOYS]),
    }
    return f"{chance.pick(asked)}\n{json.dumps(fields)}"


def listing(chance: Chance) -> str:
    """A request for a list, and the list, numbered or with dashes."""
    subject = chance.pick(list(LISTS))
    count = chance.pick(list(NUMBERS))
    items = chance.several(LISTS[subject], count)
    if chance.happens(0.5):
        lines = [f"{i}. {item}" for i, item in enumerate(items, 1)]
        return "\n".join([f"List {NUMBERS[count]} {subject}.", *lines])
    lines = [f"- {item}" for item in items]
    return "\n".join([f"Make a list of {NUMBERS[count]} {subject}.", *lines])


def questions(chance: Chance) -> str:
    """Two to four questions with their answers."""
    kinds = [sound, colour, opposite, total, next_day, legs]
    return "\n".join(chance.pick(kinds)(chance) for _ in range(chance.number(2, 4)))


def sound(chance: Chance) -> str:
    animal = chance.pick(list(SOUNDS))
    return (
        f"Q: What sound does {a(animal)} make?\nA: {a(animal).capitalize()} says {SOUNDS[animal]}."
    )


def colour(chance: Chance) -> str:
    what = chance.pick(list(COLOUR_OF))
    return f"Q: What colour is {what}?\nA: {what.capitalize()} is {COLOUR_OF[what]}."


def opposite(chance: Chance) -> str:
    word = chance.pick(list(OPPOSITES))
    return f"Q: What is the opposite of {word}?\nA: The opposite of {word} is {OPPOSITES[word]}."


def total(chance: Chance) -> str:
    x, y = chance.number(0, 9), chance.number(0, 9)
    return f"Q: What is {x} plus {y}?\nA: {x} plus {y} is {x + y}."


def next_day(chance: Chance) -> str:
    i = chance.number(0, 6)
    return f"Q: Which day comes after {DAYS[i]}?\nA: {DAYS[(i + 1) % 7]} comes after {DAYS[i]}."


def legs(chance: Chance) -> str:
    animal = chance.pick(list(LEGS))
    answer = f"{a(animal).capitalize()} has {LEGS[animal]} legs."
    return f"Q: How many legs does {a(animal)} have?\nA: {answer}"
