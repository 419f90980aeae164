"""What a decoding step is made of: how long its two halves take, beside the least that the machine
would need to read the weights, and the operations that take longest.

python -m benchmarks.steps [--shape 134M] [--precision float32] [--rows 1 8 32] [--positions 60 500]
"""

import argparse
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import roofline
from benchmarks.shapes import SHAPES, config, random_model, read_weights, vocabulary
from jax_backend.numerics.branches import all_told
from jax_backend.serving import step
from jax_backend.serving.executor import Device, Settings

REPEATS = 20
PAGE = 64


def rows_at(position: int, width: int, table: int) -> step.Rows:
    """Rows that are all at one position, each with pages of its own. They feed token 5."""
    pages = position // PAGE + 1
    tables = np.zeros((width, table), np.int32)
    tables[:, :pages] = 1 + np.arange(width * pages).reshape(width, pages)
    return step.Rows(
        slot=np.arange(width, dtype=np.int32),
        position=np.full(width, position, np.int32),
        token=np.full(width, 5, np.int32),
        table=tables,
    )


def median(function: Callable[[], Any]) -> float:
    """Seconds, when it is waited for each time."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def each(function: Callable[[], Any]) -> float:
    """Seconds, when one is enqueued behind the other."""
    begin = time.perf_counter()
    for _ in range(REPEATS):
        last = function()
    jax.block_until_ready(last)
    return (time.perf_counter() - begin) / REPEATS


def operations(function: Callable[[], Any]) -> Counter[str]:
    """Seconds a call of each operation, all of a kind together. Those of a CPU run on several
    threads, and contain each other.
    """
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            for _ in range(REPEATS):
                jax.block_until_ready(function())
        [file] = Path(directory).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(file))
    found: Counter[str] = Counter()
    wanted = "/host:CPU" if jax.default_backend() == "cpu" else "/device:"
    for plane in profile.planes:
        for line in plane.lines if plane.name.startswith(wanted) else ():
            if jax.default_backend() != "cpu" and not line.name.startswith("Stream"):
                continue
            for event in line.events:
                if not re.match(r"[A-Z]|\$|end: ", event.name):  # not a function of the runtime
                    found[re.sub(r"[._]\d+", "", event.name)] += event.duration_ns / 1e9 / REPEATS
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.steps")
    option = parser.add_argument
    option("--shape", choices=SHAPES, default="134M")
    option("--precision", choices=("float32", "bfloat16"), default="float32")
    option("--rows", type=int, nargs="+", default=[1, 8, 32])
    option("--positions", type=int, nargs="+", default=[60, 500])
    option("--operations", type=int, default=10, help="how many of the longest are told")
    given = parser.parse_args()
    shape = config(given.shape)
    most = max(given.rows)
    model = random_model(shape, jnp.dtype(given.precision))
    settings = Settings(
        widths=tuple(sorted(given.rows)),
        invariant=False,
        pages=max(most * (max(given.positions) // PAGE + 1), shape.max_position_embeddings // PAGE),
        page_size=PAGE,
    )
    device = Device(model, frozenset({0}), vocabulary(shape.vocab_size), settings)
    reading = read_weights(shape) * jnp.dtype(given.precision).itemsize / roofline.bandwidth()
    print(
        f"{given.shape}, {given.precision}, {jax.devices()[0].device_kind}, jax {jax.__version__}"
    )
    print(f"to read the weights: {1e3 * reading:.2f} ms")
    for width in given.rows:
        for position in given.positions:
            rows = rows_at(position, width, device.table)
            mask = device.no_masks[width]

            def feed(rows: step.Rows = rows) -> jax.Array:
                device.layers, logits = device.program.feed(
                    device.weights, device.layers, device.slots.token, rows, None
                )
                return logits

            logits = feed()

            def draw(rows: step.Rows = rows, logits: jax.Array = logits, mask=mask) -> step.Drawn:
                device.slots, drawn = step.draw(
                    device.slots, rows, logits, mask, device.top, all_told()[0]
                )
                return drawn

            draw()
            logits_each, draw_each = each(feed), each(draw)
            print(
                f"{width} rows at {position}: logits {1e3 * median(feed):.2f} ms"
                f" ({1e3 * logits_each:.2f} one behind the other, {reading / logits_each:.2f} of"
                f" the floor); greedy draw {1e3 * median(draw):.2f} ({1e3 * draw_each:.2f})"
            )
            for name, seconds in operations(feed).most_common(given.operations):
                print(f"    {1e3 * seconds:8.3f} ms  {name}")


if __name__ == "__main__":
    main()
