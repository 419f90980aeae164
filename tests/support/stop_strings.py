"""The definition of stop strings, by brute force."""

from collections.abc import Sequence


def cut_at_first_stop(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """Cut the text at the first position at which some stop string is complete."""
    for end in range(len(text) + 1):
        for stop in stops:
            if text[:end].endswith(stop):
                return text[: end - len(stop)], stop
    return text, None
