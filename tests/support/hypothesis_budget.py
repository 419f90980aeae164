"""How hard tests search."""

from hypothesis import settings


def share(percent: int) -> settings:
    """So many examples of 100 that the profile asks for."""
    return settings(max_examples=settings().max_examples * percent // 100)
