"""The roofline of this machine: memory bandwidth and arithmetic throughput."""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

MIB = 2**20
REPEATS = 5
THREADS = os.cpu_count() or 1


def rate(work: float, function: Callable[[], object]) -> float:
    """Return work per second: the median of a few repeats."""
    function()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return work / statistics.median(times)


def bandwidth() -> float:
    """Return the bytes per second that are read from memory, past all caches."""
    if jax.default_backend() == "cpu":
        parts = [np.ones(512 * MIB // THREADS // 4, np.float32) for _ in range(THREADS)]
        with ThreadPoolExecutor(THREADS) as pool:
            return rate(512 * MIB, lambda: list(pool.map(squared, parts)))
    # Repeated copies within the device's memory, in one launch, so that the host does not matter.
    copied = jax.jit(lambda x: jax.lax.fori_loop(0, 20, lambda i, y: y + 1, x), donate_argnums=0)
    x = jnp.ones(256 * MIB, jnp.float32)

    def copy() -> None:
        nonlocal x
        x = jax.block_until_ready(copied(x))

    return rate(20 * 2 * x.nbytes, copy)


def squared(part: np.ndarray) -> float:
    """Return the sum of squares, which BLAS computes at the speed of memory."""
    return float(part @ part)


def flops(precision: str = "float32") -> float:
    """Return the operations per second of a matrix product: NumPy's on a CPU, else JAX's."""
    if jax.default_backend() == "cpu":
        side = 2048
        ones = np.ones((side, side), np.float32)
        return rate(2 * side**3, lambda: ones @ ones)
    side = 8192
    a = jax.random.normal(jax.random.key(0), (side, side), jnp.dtype(precision))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    return rate(20 * 2 * side**3, lambda: jax.block_until_ready([product(a) for _ in range(20)]))
