"""Pictures of scenes, drawn with Pillow."""

import math
import random
from dataclasses import dataclass
from statistics import fmean

from PIL import Image, ImageDraw

from jax_backend.training.text.chance import Chance
from jax_backend.training.vision.scenes import Box, Group, Scene, scene

RGB = tuple[int, int, int]
INKS: dict[str, RGB] = {
    "red": (215, 40, 40),
    "blue": (45, 80, 210),
    "green": (40, 150, 60),
    "yellow": (240, 210, 40),
    "brown": (120, 72, 35),
    "orange": (245, 135, 30),
    "purple": (140, 55, 170),
}
PAPERS: tuple[RGB, ...] = ((255, 255, 255), (246, 242, 232), (232, 236, 242), (225, 225, 225))
SIDES = (96, 128, 160, 224, 320)  # pixels
RADIUS = (0.085, 0.115)  # of the side
GAP = 0.02
LEVEL = 0.12  # of the side: what is no difference to speak of
FINER = 4  # how much finer it is drawn, to be smooth at the edges


@dataclass(frozen=True)
class Spot:
    """A place for one shape, on a canvas of side 1."""

    x: float
    y: float
    radius: float


def picture(seed: int, index: int) -> tuple[Image.Image, Scene]:
    """Picture `index` of a series, which depends on the two numbers alone, and what is in it."""
    number = seed * 2**32 + index
    what, dice = scene(Chance(number)), random.Random(f"drawing {number}")
    return draw(what, dice), what


def draw(what: Scene, dice: random.Random) -> Image.Image:
    """A picture of a scene: paper, size, places, tilts and shades by chance."""
    side = dice.choice(SIDES)
    paper = Image.new("RGB", (FINER * side, FINER * side), dice.choice(PAPERS))
    pen = ImageDraw.Draw(paper)
    for group, places in zip(what, arrangement(what, dice), strict=True):
        for spot in places:
            ink = shade(INKS[group.colour], dice)
            outline(pen, group.shape, spot, ink, dice.uniform(-15, 15), FINER * side)
    return paper.reduce(FINER)


def arrangement(what: Scene, dice: random.Random) -> list[list[Spot]]:
    """Places for every group. Two groups that are left and right of each other are about as high,
    and two that are above each other as far left, so that there is one way to say it.
    """
    while True:
        found = [spots(group, dice) for group in what]
        if len(found) == 1 or min(offsets(*found)) < LEVEL:
            return found


def offsets(a: list[Spot], b: list[Spot]) -> tuple[float, float]:
    """How far two groups are apart on the whole, across and down."""
    return (
        abs(fmean(s.x for s in a) - fmean(s.x for s in b)),
        abs(fmean(s.y for s in a) - fmean(s.y for s in b)),
    )


def spots(group: Group, dice: random.Random) -> list[Spot]:
    """Places for a group's shapes, apart from each other. If chance packs them badly, it is asked
    again.
    """
    while True:
        found: list[Spot] = []
        for _ in range(100):
            spot = anywhere(group.box, dice.uniform(*RADIUS), dice)
            if all(apart(spot, other) for other in found):
                found.append(spot)
            if len(found) == group.count:
                return found


def anywhere(box: Box, radius: float, dice: random.Random) -> Spot:
    left, top, right, bottom = box
    x = dice.uniform(left + radius, right - radius)
    return Spot(x, dice.uniform(top + radius, bottom - radius), radius)


def apart(a: Spot, b: Spot) -> bool:
    return math.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius + GAP


def shade(ink: RGB, dice: random.Random) -> RGB:
    """Nearly that colour."""
    r, g, b = (min(255, max(0, value + dice.randint(-12, 12))) for value in ink)
    return r, g, b


def outline(
    pen: ImageDraw.ImageDraw, shape: str, spot: Spot, ink: RGB, tilt: float, side: int
) -> None:
    """Fill one shape. tilt: in degrees. side: of the canvas, in pixels."""
    x, y, radius = spot.x * side, spot.y * side, spot.radius * side
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
        return
    corners = {"square": 4, "triangle": 3, "star": 10}[shape]
    first = 45 if shape == "square" else -90
    points = []
    for i in range(corners):
        angle = math.radians(first + tilt + 360 * i / corners)
        reach = radius * (0.42 if shape == "star" and i % 2 else 1.0)
        points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    pen.polygon(points, fill=ink)
