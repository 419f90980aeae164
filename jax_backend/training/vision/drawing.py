"""Images of scenes, drawn with Pillow."""

import math
import random
from dataclasses import dataclass
from statistics import fmean

from PIL import Image, ImageDraw

from jax_backend.training.text.random_source import RandomSource
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
MAX_OFFSET = 0.12  # of the side: groups this close in one direction count as aligned
SUPERSAMPLING = 4  # for smooth edges


@dataclass(frozen=True)
class Spot:
    """Position and radius of a shape, on a canvas of side 1."""

    x: float
    y: float
    radius: float


def image(seed: int, index: int) -> tuple[Image.Image, Scene]:
    """Return image `index` of a series and its scene, which depend only on the two numbers."""
    number = seed * 2**32 + index
    drawn, rng = scene(RandomSource(number)), random.Random(f"drawing {number}")
    return draw(drawn, rng), drawn


def draw(drawn: Scene, rng: random.Random) -> Image.Image:
    """Draw a scene with random paper, size, positions, tilts and shades."""
    side = rng.choice(SIDES)
    paper = Image.new("RGB", (SUPERSAMPLING * side, SUPERSAMPLING * side), rng.choice(PAPERS))
    pen = ImageDraw.Draw(paper)
    for group, group_spots in zip(drawn, arrangement(drawn, rng), strict=True):
        for spot in group_spots:
            ink = shade(INKS[group.color], rng)
            outline(pen, group.shape, spot, ink, rng.uniform(-15, 15), SUPERSAMPLING * side)
    return paper.reduce(SUPERSAMPLING)


def arrangement(drawn: Scene, rng: random.Random) -> list[list[Spot]]:
    """Place the shapes of every group. Two groups are aligned horizontally or vertically, so that
    there is a single correct description.
    """
    while True:
        groups = [spots(group, rng) for group in drawn]
        if len(groups) == 1 or min(offsets(*groups)) < MAX_OFFSET:
            return groups


def offsets(a: list[Spot], b: list[Spot]) -> tuple[float, float]:
    """Return the horizontal and vertical distance between the centers of two groups."""
    return (
        abs(fmean(s.x for s in a) - fmean(s.x for s in b)),
        abs(fmean(s.y for s in a) - fmean(s.y for s in b)),
    )


def spots(group: Group, rng: random.Random) -> list[Spot]:
    """Place the shapes of a group without overlap, and start again if there is no room left."""
    while True:
        placed: list[Spot] = []
        for _ in range(100):
            spot = random_spot(group.box, rng.uniform(*RADIUS), rng)
            if all(apart(spot, earlier) for earlier in placed):
                placed.append(spot)
            if len(placed) == group.count:
                return placed


def random_spot(box: Box, radius: float, rng: random.Random) -> Spot:
    """Return a random spot that is inside of the box."""
    left, top, right, bottom = box
    x = rng.uniform(left + radius, right - radius)
    return Spot(x, rng.uniform(top + radius, bottom - radius), radius)


def apart(a: Spot, b: Spot) -> bool:
    """Return whether two shapes do not overlap."""
    return math.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius + GAP


def shade(ink: RGB, rng: random.Random) -> RGB:
    """Vary a color a little."""
    r, g, b = (min(255, max(0, value + rng.randint(-12, 12))) for value in ink)
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
