"""How hard tests search: how many examples hypothesis makes, and with what checks."""

from collections.abc import Iterator

from hypothesis import settings
from jaxtyping import config


def share(percent: int) -> settings:
    """So many examples of 100 that the profile asks for."""
    return settings(max_examples=settings().max_examples * percent // 100)


def unchecked() -> Iterator[None]:
    """A fixture for small functions that run a million times and have no arrays: their types are
    not looked at while they run, which takes ten times as long.
    """
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)
