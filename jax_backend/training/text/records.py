"""JSON records, lists, questions with answers, each after the line that requests it."""

import json

from jax_backend.training.text.random_source import RandomSource
from jax_backend.training.text.words import (
    BOYS,
    CITIES,
    COLOR_OF,
    COLORS,
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


def record(rng: RandomSource) -> str:
    """Generate the request for a record of a person, a place or a thing, and the record."""
    return rng.pick([person, place, thing])(rng)


def person(rng: RandomSource) -> str:
    name = rng.pick(GIRLS + BOYS)
    prompts = [f"Write a JSON record of a person named {name}.", "Write a JSON record of a person."]
    fields = {
        "name": name,
        "age": rng.number(18, 80),
        "job": rng.pick(JOBS),
        "city": rng.pick(CITIES),
        "hobbies": rng.sample(HOBBIES, rng.number(1, 3)),
        "married": rng.happens(0.5),
    }
    return f"{rng.pick(prompts)}\n{json.dumps(fields)}"


def place(rng: RandomSource) -> str:
    kind, city = rng.pick(KINDS_OF_PLACES), rng.pick(CITIES)
    prompts = [
        f"Write a JSON record of {a(kind)} in {city}.",
        f"Write a JSON record of {a(kind)}.",
        "Write a JSON record of a place.",
    ]
    opens = rng.number(6, 11)
    fields = {
        "name": f"{city} {kind.capitalize()}",
        "kind": kind,
        "city": city,
        "opens": opens,
        "closes": opens + rng.number(6, 12),
        "free": rng.happens(0.5),
    }
    return f"{rng.pick(prompts)}\n{json.dumps(fields)}"


def thing(rng: RandomSource) -> str:
    name, color = rng.pick(TOYS), rng.pick(COLORS)
    prompts = [
        f"Write a JSON record of {a(color)} {name}.",
        f"Write a JSON record of {a(name)}.",
        "Write a JSON record of a thing.",
    ]
    fields = {
        "name": name,
        "colour": color,
        "material": rng.pick(MATERIALS),
        "price": rng.number(1, 40) / 2,
        "owner": rng.pick([None, *GIRLS, *BOYS]),
    }
    return f"{rng.pick(prompts)}\n{json.dumps(fields)}"


def listing(rng: RandomSource) -> str:
    """Generate the request for a list, and the list, numbered or with dashes."""
    subject = rng.pick(list(LISTS))
    count = rng.pick(list(NUMBERS))
    items = rng.sample(LISTS[subject], count)
    if rng.happens(0.5):
        lines = [f"{i}. {item}" for i, item in enumerate(items, 1)]
        return "\n".join([f"List {NUMBERS[count]} {subject}.", *lines])
    lines = [f"- {item}" for item in items]
    return "\n".join([f"Make a list of {NUMBERS[count]} {subject}.", *lines])


def questions(rng: RandomSource) -> str:
    """Generate two to four questions with their answers."""
    kinds = [sound, color, opposite, total, next_day, legs]
    return "\n".join(rng.pick(kinds)(rng) for _ in range(rng.number(2, 4)))


def sound(rng: RandomSource) -> str:
    animal = rng.pick(list(SOUNDS))
    return (
        f"Q: What sound does {a(animal)} make?\nA: {a(animal).capitalize()} says {SOUNDS[animal]}."
    )


def color(rng: RandomSource) -> str:
    thing = rng.pick(list(COLOR_OF))
    return f"Q: What colour is {thing}?\nA: {thing.capitalize()} is {COLOR_OF[thing]}."


def opposite(rng: RandomSource) -> str:
    word = rng.pick(list(OPPOSITES))
    return f"Q: What is the opposite of {word}?\nA: The opposite of {word} is {OPPOSITES[word]}."


def total(rng: RandomSource) -> str:
    x, y = rng.number(0, 9), rng.number(0, 9)
    return f"Q: What is {x} plus {y}?\nA: {x} plus {y} is {x + y}."


def next_day(rng: RandomSource) -> str:
    i = rng.number(0, 6)
    return f"Q: Which day comes after {DAYS[i]}?\nA: {DAYS[(i + 1) % 7]} comes after {DAYS[i]}."


def legs(rng: RandomSource) -> str:
    animal = rng.pick(list(LEGS))
    answer = f"{a(animal).capitalize()} has {LEGS[animal]} legs."
    return f"Q: How many legs does {a(animal)} have?\nA: {answer}"
