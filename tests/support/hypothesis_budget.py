"""Number of examples of a property test, relative to hypothesis's profile."""

from hypothesis import settings


def example_budget(percent: int) -> settings:
    """Scale the profile's number of examples by a percentage."""
    return settings(max_examples=settings().max_examples * percent // 100)
