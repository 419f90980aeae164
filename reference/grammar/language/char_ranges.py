"""Sets of characters: ranges of code points, both ends included."""

from collections.abc import Iterable, Sequence

Ranges = tuple[tuple[int, int], ...]  # ascending and disjoint

MAX_CODE_POINT = 0x10FFFF
SURROGATES = (0xD800, 0xDFFF)


def merge_ranges(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Merge ranges that may overlap, in any order. A range that ends before it begins is empty."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if low > high:
            continue
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def subtract_ranges(
    ranges: Iterable[tuple[int, int]], removed: Sequence[tuple[int, int]]
) -> Ranges:
    """Return the characters in `ranges` that are not in `removed`. Both must ascend."""
    remaining: list[tuple[int, int]] = []
    first = 0
    for low, high in ranges:
        while first < len(removed) and removed[first][1] < low:
            first += 1
        i = first
        while i < len(removed) and removed[i][0] <= high:
            if low < removed[i][0]:
                remaining.append((low, removed[i][0] - 1))
            low = max(low, removed[i][1] + 1)
            i += 1
        if low <= high:
            remaining.append((low, high))
    return tuple(remaining)
