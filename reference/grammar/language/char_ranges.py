"""Sets of characters: ranges of code points, both ends included."""

from collections.abc import Iterable, Sequence

Ranges = tuple[tuple[int, int], ...]  # ascending, and apart

LAST = 0x10FFFF
SURROGATES = (0xD800, 0xDFFF)


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Of ranges in any order, which may overlap. One that ends before it begins is empty."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if low > high:
            continue
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def subtract(ranges: Iterable[tuple[int, int]], less: Sequence[tuple[int, int]]) -> Ranges:
    """The ranges without what is in `less`. Both ascend."""
    found: list[tuple[int, int]] = []
    first = 0
    for low, high in ranges:
        while first < len(less) and less[first][1] < low:
            first += 1
        i = first
        while i < len(less) and less[i][0] <= high:
            if low < less[i][0]:
                found.append((low, less[i][0] - 1))
            low = max(low, less[i][1] + 1)
            i += 1
        if low <= high:
            found.append((low, high))
    return tuple(found)
