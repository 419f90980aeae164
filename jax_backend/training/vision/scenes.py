"""Random scenes of colored shapes, and their captions."""

from collections.abc import Sequence
from dataclasses import dataclass

from jax_backend.training.text.random_source import RandomSource
from jax_backend.training.text.words import COLORS as ALL_COLORS
from jax_backend.training.text.words import a

SHAPES = ("circle", "square", "triangle", "star")
COLORS = tuple(color for color in ALL_COLORS if color != "white")  # the paper is light
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")

Box = tuple[float, float, float, float]  # left, top, right, bottom, of a canvas of side 1

MARGIN, MIDDLE = 0.04, 0.03
LOW, HIGH = 0.5 - MIDDLE, 0.5 + MIDDLE
WHOLE: Box = (MARGIN, MARGIN, 1 - MARGIN, 1 - MARGIN)
LEFT: Box = (MARGIN, MARGIN, LOW, 1 - MARGIN)
RIGHT: Box = (HIGH, MARGIN, 1 - MARGIN, 1 - MARGIN)
TOP: Box = (MARGIN, MARGIN, 1 - MARGIN, LOW)
BOTTOM: Box = (MARGIN, HIGH, 1 - MARGIN, 1 - MARGIN)

# Positions of a single shape.
PLACES: dict[str, Box] = {
    "in the middle": (0.36, 0.36, 0.64, 0.64),
    "in the top left corner": (MARGIN, MARGIN, 0.34, 0.34),
    "in the top right corner": (0.66, MARGIN, 1 - MARGIN, 0.34),
    "in the bottom left corner": (MARGIN, 0.66, 0.34, 1 - MARGIN),
    "in the bottom right corner": (0.66, 0.66, 1 - MARGIN, 1 - MARGIN),
}
# Positions of two groups.
HALVES = (
    (("on the left", LEFT), ("on the right", RIGHT)),
    (("at the top", TOP), ("at the bottom", BOTTOM)),
)

QUESTION = "What is in the picture?"
COUNT_QUESTION = "How many shapes are there?"


@dataclass(frozen=True)
class Group:
    """Identical shapes. place: the words for their position, or ""."""

    count: int
    color: str
    shape: str
    place: str
    box: Box

    def __str__(self) -> str:
        noun = f"{self.color} {self.shape}"
        counted = a(noun) if self.count == 1 else f"{NUMBERS[self.count]} {noun}s"
        return f"{counted} {self.place}".strip()


Scene = Sequence[Group]


def scene(rng: RandomSource) -> Scene:
    """Generate a scene: one group anywhere on the paper, or one in each of two halves."""
    if rng.happens(0.4):
        count = rng.number(1, 5)
        place, box = rng.pick(list(PLACES.items())) if count == 1 else ("", WHOLE)
        return [group(rng, count, place, box)]
    halves = rng.pick(HALVES)
    first, second = (group(rng, rng.number(1, 4), place, box) for place, box in halves)
    if (first.color, first.shape) == (second.color, second.shape):
        return scene(rng)  # they would look like a single group
    return [first, second]


def group(rng: RandomSource, count: int, place: str, box: Box) -> Group:
    """Return a group of a random color and shape."""
    return Group(count, rng.pick(COLORS), rng.pick(SHAPES), place, box)


def caption(scene: Scene) -> str:
    """Describe a scene: "There are two red circles on the left and a blue star on the right"."""
    verb = "is" if scene[0].count == 1 else "are"
    return f"There {verb} {' and '.join(map(str, scene))}."


def count_answer(scene: Scene) -> str:
    """Answer `COUNT_QUESTION`."""
    count = sum(group.count for group in scene)
    return "There is one shape." if count == 1 else f"There are {NUMBERS[count]} shapes."


def question(text: str) -> str:
    """Return the prompt of a question about an image, up to the answer."""
    return f"<image>\nQ: {text}\nA:"
