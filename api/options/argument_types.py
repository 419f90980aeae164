"""Types of command-line arguments: each parses a text. Raises ArgumentTypeError or ValueError."""

import argparse
from pathlib import Path

from api.security.hosts import parse_origin
from reference.images.limits import ImageLimits


def host_count(text: str) -> int | str:
    """Parse a number of hosts, or "auto"."""
    if text == "auto":
        return text
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError(f"must be auto or at least 2, got {text}")
    return number


def model_argument(text: str) -> tuple[str, Path]:
    """Parse "NAME=DIR", or "DIR" with the directory's name."""
    name, separator, directory = text.partition("=")
    path = Path(directory if separator else text)
    name = name if separator else path.resolve().name
    if not name:
        raise argparse.ArgumentTypeError(f"must be DIR or NAME=DIR, got {text!r}")
    return name, path


def seconds(text: str) -> float:
    if not (number := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return number


def natural_int(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return number


def positive_int(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def port(text: str) -> int:
    if (number := int(text)) not in range(2**16):
        raise argparse.ArgumentTypeError(f"must be in 0 … {2**16 - 1}, got {text}")
    return number


def tensor_parallel_size(text: str) -> int:
    """Parse "tp=8" as 8."""
    name, _, count = text.partition("=")
    if name != "tp":
        raise argparse.ArgumentTypeError(f"must be tp=N, got {text!r}")
    return positive_int(count)


def image_pixels(text: str) -> int:
    try:
        return ImageLimits(pixels=positive_int(text)).pixels
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def origin(text: str) -> str:
    try:
        return parse_origin(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
