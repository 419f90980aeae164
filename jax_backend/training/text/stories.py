"""Short stories from templates: a child, a thing, a small problem and its solution."""

from jax_backend.training.text.random_source import RandomSource
from jax_backend.training.text.words import (
    ADJECTIVES,
    BOYS,
    CAKES,
    COLORS,
    FEELINGS,
    FOODS,
    GIRLS,
    HIDING,
    PETS,
    PLACES,
    TOYS,
    WEATHER,
    a,
)

OPENINGS = [
    "Once upon a time, there was {a_adjective} {child} named {name}.",
    "Once upon a time, {a_adjective} {child} named {name} lived near the {place}.",
    "One {weather} day, {a_adjective} {child} named {name} went to the {place}.",
    "There was once {a_adjective} {child} named {name}.",
]
OWNING = [
    "{Pronoun} had {a_colour} {toy} and loved it very much.",
    "{Pronoun} had {a_pet} named {pet_name} and {a_colour} {toy}.",
    "{Name} always took {possessive} {colour} {toy} everywhere.",
]
LOSING = [
    "But one day, the {toy} was gone.",
    "One morning, {name} could not find the {colour} {toy}.",
    "Then the wind blew and took the {toy} away.",
    "Near the {place}, {name} lost the {toy}.",
]
FEELING = [
    "{Name} was very {feeling}.",
    '"Where is my {toy}?" asked {name}.',
    "{Pronoun} looked and looked, but the {toy} was not there.",
    '"Oh no!" said {name}. "My {colour} {toy} is gone!"',
]
MEETING = [
    "Then {pronoun} met {a_friend}.",
    "Just then, {a_friend} came by.",
    "{A_friend} heard {object} and came to help.",
    "On the way home, {pronoun} saw {a_friend}.",
]
HELPING = [
    '"Do not worry," said the {friend}. "I will help you."',
    '"I saw {a_colour} {toy} {hiding}," said the {friend}.',
    '"Let us look together," said the {friend}.',
]
FINDING = [
    "They looked {hiding}, and there was the {toy}!",
    "They went to the {place} and found the {toy} {hiding}.",
    "Soon they found the {colour} {toy} {hiding}.",
]
THANKING = [
    '"Thank you!" said {name}. {Pronoun} gave the {friend} {a_food}.',
    "{Name} was so happy that {pronoun} shared {a_food} with the {friend}.",
    '{Name} smiled and said, "Thank you, my friend!"',
]
ENDINGS = [
    "From that day on, {name} and the {friend} were best friends.",
    "They played with the {toy} until the sun went down.",
    "Then {name} went home and slept well.",
    "And they all lived happily ever after.",
]
LOST = [OPENINGS, OWNING, LOSING, FEELING, MEETING, HELPING, FINDING, THANKING, ENDINGS]

WISHING = [
    "{Pronoun} wanted to bake {a_cake} for {a_friend}.",
    "{Pronoun} wanted to make {a_colour} {toy} for {a_friend}.",
    "It was the birthday of {a_friend}, and {name} wanted to bring {a_food}.",
]
STARTING = [
    "First {pronoun} went to the {place} to get what {pronoun} needed.",
    "{Pronoun} worked all morning.",
    "{Pronoun} asked {a_pet} to help.",
]
FAILING = [
    "But it began to rain, and everything got wet.",
    "But {pronoun} fell and broke it.",
    "But it did not look right.",
]
TRYING = [
    '"I will try again," said {name}.',
    "{Name} was {feeling}, but did not give up.",
    "{Name} took a deep breath and started again.",
]
GIVING = [
    "In the evening it was done, and {name} took it to the {friend}.",
    "At last it was ready. The {friend} could not believe it!",
    '"This is for you," said {name} to the {friend}.',
]
PRAISING = [
    '"It is beautiful!" said the {friend}.',
    '"You are the best friend of all," said the {friend}.',
    'The {friend} laughed and said, "Thank you, {name}!"',
]
CLOSINGS = [
    "They sat together near the {place} and talked until it was dark.",
    "{Name} learned that it is good to try again.",
    "And they all lived happily ever after.",
    "That night {name} was tired and very happy.",
]
GIFT = [OPENINGS, WISHING, STARTING, FAILING, TRYING, GIVING, PRAISING, CLOSINGS]

PLOTS = [LOST, GIFT]
GIRL = {"child": "girl", "pronoun": "she", "object": "her", "possessive": "her"}
BOY = {"child": "boy", "pronoun": "he", "object": "him", "possessive": "his"}


WORDS_OF = {
    "adjective": ADJECTIVES,
    "cake": CAKES,
    "colour": COLORS,
    "feeling": FEELINGS,
    "food": FOODS,
    "friend": PETS,
    "hiding": HIDING,
    "pet": PETS,
    "place": PLACES,
    "toy": TOYS,
    "weather": WEATHER,
}


def story(rng: RandomSource) -> str:
    """Generate a story. Names, things and places stay the same throughout."""
    sentences = [rng.pick(part) for part in rng.pick(PLOTS)]
    cast = Cast(rng)
    middle = 4
    return "\n".join(
        " ".join(part).format_map(cast) for part in (sentences[:middle], sentences[middle:])
    )


class Cast(dict[str, str]):
    """The words of a story by template field. Each is chosen when a sentence first needs it."""

    def __init__(self, rng: RandomSource) -> None:
        girl = rng.happens(0.5)
        super().__init__(GIRL if girl else BOY)
        self.rng = rng
        self.names = GIRLS if girl else BOYS

    def __missing__(self, key: str) -> str:
        if key[0].isupper():
            word = self[key.lower()].capitalize()
        elif key.startswith("a_"):
            word = a(self[key.removeprefix("a_")])
        else:
            taken = set(self.values())
            choices = WORDS_OF.get(key, self.names)
            word = self.rng.pick([w for w in choices if w not in taken])
        self[key] = word
        return word
