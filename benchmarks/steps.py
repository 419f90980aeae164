"""The parts of a decode step: how long its two launches take, compared with the time to read the
weights, and the operations that take longest.

python -m benchmarks.steps [--shape 134M] [--precision float32] [--rows 1 8 32] [--positions 60 500]
"""

import argparse
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import roofline
from benchmarks.shapes import SHAPES, config, random_model, vocabulary, weights_per_token
from jax_backend.numerics.branches import all_static_flags
from jax_backend.serving.executor import Executor
from jax_backend.serving.settings import Settings
from jax_backend.serving.state import BatchInputs

REPEATS = 20
PAGE_SIZE = 64
TOKEN = 5


def batch_at(position: int, batch_size: int, pages_per_sequence: int) -> BatchInputs:
    """Return a batch whose rows are all at one position, each with its own pages."""
    pages = position // PAGE_SIZE + 1
    page_table = np.zeros((batch_size, pages_per_sequence), np.int32)
    page_table[:, :pages] = 1 + np.arange(batch_size * pages).reshape(batch_size, pages)
    return BatchInputs(
        slot=np.arange(batch_size, dtype=np.int32),
        position=np.full(batch_size, position, np.int32),
        token=np.full(batch_size, TOKEN, np.int32),
        page_table=page_table,
    )


def latency_seconds(function: Callable[[], Any]) -> float:
    """Return the median time of a call that is waited for."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def pipelined_seconds(function: Callable[[], Any]) -> float:
    """Return the time per call when calls are enqueued back to back."""
    begin = time.perf_counter()
    for _ in range(REPEATS):
        last = function()
    jax.block_until_ready(last)
    return (time.perf_counter() - begin) / REPEATS


def operations(function: Callable[[], Any]) -> Counter[str]:
    """Return the seconds per call of each kind of operation. On a CPU operations run on several
    threads, and the time of one includes those that it contains.
    """
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            for _ in range(REPEATS):
                jax.block_until_ready(function())
        [file] = Path(directory).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(file))
    seconds: Counter[str] = Counter()
    on_cpu = jax.default_backend() == "cpu"
    for plane in profile.planes:
        if not plane.name.startswith("/host:CPU" if on_cpu else "/device:"):
            continue
        for line in plane.lines:
            if not on_cpu and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                if not re.match(r"[A-Z]|\$|end: ", event.name):  # not a function of the runtime
                    kind = re.sub(r"[._]\d+", "", event.name)
                    seconds[kind] += event.duration_ns / 1e9 / REPEATS
    return seconds


def report(
    executor: Executor, batch_size: int, position: int, roofline_seconds: float, count: int
) -> None:
    """Measure and print one batch size at one position."""
    batch = batch_at(position, batch_size, executor.pages_per_sequence)
    forward = partial(executor.decode_forward, batch, None)
    mask, flags = executor.full_masks[batch_size], all_static_flags()[0]
    sample = partial(executor.sample_batch, batch, forward(), mask, flags)
    sample()
    forward_seconds, sample_seconds = pipelined_seconds(forward), pipelined_seconds(sample)
    print(
        f"{batch_size} rows at {position}: logits {1e3 * latency_seconds(forward):.2f} ms"
        f" ({1e3 * forward_seconds:.2f} pipelined, {roofline_seconds / forward_seconds:.2f} of"
        f" the roofline); greedy sampling {1e3 * latency_seconds(sample):.2f}"
        f" ({1e3 * sample_seconds:.2f})"
    )
    for name, seconds in operations(forward).most_common(count):
        print(f"    {1e3 * seconds:8.3f} ms  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.steps")
    option = parser.add_argument
    option("--shape", choices=SHAPES, default="134M")
    option("--precision", choices=("float32", "bfloat16"), default="float32")
    option("--rows", type=int, nargs="+", default=[1, 8, 32])
    option("--positions", type=int, nargs="+", default=[60, 500])
    option("--operations", type=int, default=10, help="how many of the longest to print")
    options = parser.parse_args()
    shape, dtype = config(options.shape), jnp.dtype(options.precision)
    pages_of_rows = max(options.rows) * (max(options.positions) // PAGE_SIZE + 1)
    settings = Settings(
        batch_sizes=tuple(sorted(options.rows)),
        batch_invariant=False,
        num_pages=max(pages_of_rows, shape.max_position_embeddings // PAGE_SIZE),
        page_size=PAGE_SIZE,
    )
    model = random_model(shape, dtype)
    executor = Executor(model, frozenset({0}), vocabulary(shape.vocab_size), settings)
    roofline_seconds = weights_per_token(shape) * dtype.itemsize / roofline.bandwidth()
    kind = jax.devices()[0].device_kind
    print(f"{options.shape}, {options.precision}, {kind}, jax {jax.__version__}")
    print(f"to read the weights: {1e3 * roofline_seconds:.2f} ms")
    for batch_size in options.rows:
        for position in options.positions:
            report(executor, batch_size, position, roofline_seconds, options.operations)


if __name__ == "__main__":
    main()
