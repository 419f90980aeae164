"""What is in a picture, and how that is said."""

from collections.abc import Sequence
from dataclasses import dataclass

from jax_backend.training.text.chance import Chance
from jax_backend.training.text.words import COLOURS as ALL_COLOURS
from jax_backend.training.text.words import a

SHAPES = ("circle", "square", "triangle", "star")
COLOURS = tuple(colour for colour in ALL_COLOURS if colour != "white")  # the paper is light
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")

Box = tuple[float, float, float, float]  # left, top, right, bottom, of a canvas of side 1

MARGIN, MIDDLE = 0.04, 0.03
LOW, HIGH = 0.5 - MIDDLE, 0.5 + MIDDLE
WHOLE: Box = (MARGIN, MARGIN, 1 - MARGIN, 1 - MARGIN)
LEFT: Box = (MARGIN, MARGIN, LOW, 1 - MARGIN)
RIGHT: Box = (HIGH, MARGIN, 1 - MARGIN, 1 - MARGIN)
TOP: Box = (MARGIN, MARGIN, 1 - MARGIN, LOW)
BOTTOM: Box = (MARGIN, HIGH, 1 - MARGIN, 1 - MARGIN)

# Where one shape alone is.
PLACES: dict[str, Box] = {
    "in the middle": (0.36, 0.36, 0.64, 0.64),
    "in the top left corner": (MARGIN, MARGIN, 0.34, 0.34),
    "in the top right corner": (0.66, MARGIN, 1 - MARGIN, 0.34),
    "in the bottom left corner": (MARGIN, 0.66, 0.34, 1 - MARGIN),
    "in the bottom right corner": (0.66, 0.66, 1 - MARGIN, 1 - MARGIN),
}
# Where two groups are.
HALVES = (
    (("on the left", LEFT), ("on the right", RIGHT)),
    (("at the top", TOP), ("at the bottom", BOTTOM)),
)

QUESTION = "What is in the picture?"
HOW_MANY = "How many shapes are there?"


@dataclass(frozen=True)
class Group:
    """Shapes that are alike, and the words for their place; "" if there is nothing to tell."""

    count: int
    colour: str
    shape: str
    place: str
    box: Box

    def __str__(self) -> str:
        noun = f"{self.colour} {self.shape}"
        counted = a(noun) if self.count == 1 else f"{NUMBERS[self.count]} {noun}s"
        return f"{counted} {self.place}".strip()


Scene = Sequence[Group]


def scene(chance: Chance) -> Scene:
    """One group somewhere on the whole paper, or two in two halves of it."""
    if chance.happens(0.4):
        count = chance.number(1, 5)
        place, box = chance.pick(list(PLACES.items())) if count == 1 else ("", WHOLE)
        return [group(chance, count, place, box)]
    halves = chance.pick(HALVES)
    first, second = (group(chance, chance.number(1, 4), place, box) for place, box in halves)
    if (first.colour, first.shape) == (second.colour, second.shape):
        return scene(chance)  # they would be one group
    return [first, second]


def group(chance: Chance, count: int, place: str, box: Box) -> Group:
    return Group(count, chance.pick(COLOURS), chance.pick(SHAPES), place, box)


def caption(scene: Scene) -> str:
    """There are two red circles on the left and a blue star on the right."""
    verb = "is" if scene[0].count == 1 else "are"
    return f"There {verb} {' and '.join(map(str, scene))}."


def how_many(scene: Scene) -> str:
    count = sum(group.count for group in scene)
    return "There is one shape." if count == 1 else f"There are {NUMBERS[count]} shapes."


def question(text: str) -> str:
    """What stands before an answer, in a prompt about a picture."""
    return f"<image>\nQ: {text}\nA:"
