"""What this machine could do at best: bytes that it reads, products that it makes, a second."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

MIB = 2**20
REPEATS = 5


def rate(work: float, function: Callable[[], object]) -> float:
    """Work per second: the median of a few repeats."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return work / statistics.median(times)


def bandwidth(threads: int, size: int = 512 * MIB) -> float:
    """Bytes per second that threads read together, from memory that no cache holds."""
    parts = [np.ones(size // threads // 4, np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        return rate(size, lambda: list(pool.map(squared, parts)))


def squared(part: np.ndarray) -> float:
    """The sum of squares, which the library for products adds up as fast as memory gives it."""
    return float(part @ part)


def products(side: int = 2048) -> float:
    """Operations per second of a product of two float32 matrices, as NumPy's library does it."""
    a, b = np.ones((side, side), np.float32), np.ones((side, side), np.float32)
    return rate(2 * side**3, lambda: a @ b)
