"""This engine beside others, on one checkpoint, in turns, in one run.

    python -m benchmarks --peer llama.cpp=PYTHON:FILE.gguf --peer transformers=PYTHON [--json FILE]

A peer is found in an environment of its own, which its PYTHON belongs to. The checkpoint is made
here (`--checkpoint`); `python -m conformance.servers.to_gguf` makes llama.cpp's file from it.
"""

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import floor
from benchmarks.checkpoint import write
from benchmarks.shapes import SHAPES, config
from reference.config import LlamaConfig
from reference.weights import EMBEDDING, expected_tensors

WORKERS = Path(__file__).parent / "workers"
SCENARIOS: dict[str, dict[str, Any]] = {
    "1 stream": {"name": "decode", "streams": 1, "prompt": 32, "tokens": 64},
    "8 streams": {"name": "decode", "streams": 8, "prompt": 32, "tokens": 64},
    "32 streams": {"name": "decode", "streams": 32, "prompt": 32, "tokens": 48},
    "prefill 512": {"name": "prefill", "prompt": 512},
    "prefill 2048": {"name": "prefill", "prompt": 2048},
}
OURS = "this engine"
SCRIPTS = {"llama.cpp": "llama_cpp_worker.py", "transformers": "transformers_worker.py"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """ours, theirs: tokens per second, medians. ratio: the median of the ratios of pairs, and
    spread the lowest and the highest. floor: tokens per second that the machine could do at most.
    """

    scenario: str
    peer: str
    precision: str
    ours: float
    theirs: float
    ratio: float
    spread: tuple[float, float]
    floor: float


class Worker:
    """An engine in a process of its own, which stands still while it is not its turn: threads that
    wait for work may spin.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.what = str(self._line()["ready"])
        self._process.send_signal(signal.SIGSTOP)

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended with status {self._process.wait()}")
        return json.loads(line)

    def rate(self, scenario: Mapping[str, Any]) -> float:
        """Tokens per second."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps(scenario) + "\n")
        self._process.stdin.flush()
        found = float(self._line())
        self._process.send_signal(signal.SIGSTOP)
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.close()
        self._process.wait()


def command(peer: str, checkpoint: Path, threads: int) -> tuple[str, list[str]]:
    """NAME=PYTHON or NAME=PYTHON:FILE, as a name and what starts it. Raises SystemExit."""
    name, _, rest = peer.partition("=")
    python, _, file = rest.partition(":")
    script = SCRIPTS.get(name)
    if script is None or not python:
        raise SystemExit(f"--peer {peer}: not llama.cpp=PYTHON:FILE or transformers=PYTHON")
    return name, [python, str(WORKERS / script), file or str(checkpoint), str(threads)]


@contextmanager
def running(name: str, words: Sequence[str]) -> Iterator[Worker]:
    worker = Worker(name, words)
    try:
        yield worker
    finally:
        worker.close()


def best(
    scenario: Mapping[str, Any], shape: LlamaConfig, bytes_a_second: float, flops: float
) -> float:
    """Tokens per second if nothing but the weights had to be read, or nothing but products made."""
    weights = sum(math.prod(s) for name, s in expected_tensors(shape) if name != EMBEDDING)
    by_products = flops / (2 * weights)
    if scenario["name"] == "prefill":
        return by_products
    return min(by_products, scenario["streams"] * bytes_a_second / (4 * weights))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    option = parser.add_argument
    option("--shape", choices=SHAPES, default="134M")
    option("--checkpoint", type=Path, default=Path("build/bench"), help="made if absent")
    option("--peer", action="append", default=[], help="NAME=PYTHON[:FILE], repeatable")
    option("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    option("--repeats", type=int, default=5)
    option("--slots", type=int, default=32, help="of this engine")
    option("--invariant", action="store_true", help="only widths that round alike, as it is served")
    option("--json", type=Path, help="write rows to this file")
    given = parser.parse_args()
    threads = os.cpu_count() or 1
    directory = given.checkpoint / given.shape
    write(directory, given.shape)
    limits = floor.bandwidth(threads), floor.products()
    console = Console()
    console.print(f"{limits[0] / 1e9:.0f} GB/s, {limits[1] / 1e9:.0f} GFLOP/s, {threads} threads")
    own = [sys.executable, "-m", "benchmarks.workers.ours", str(directory), str(given.slots)]
    with ExitStack() as stack:
        ours = stack.enter_context(
            running(OURS, own + (["--invariant"] if given.invariant else []))
        )
        peers = [
            stack.enter_context(running(*command(peer, directory, threads))) for peer in given.peer
        ]
        for worker in (ours, *peers):
            console.print(f"{worker.name}: {worker.what}")
        shape = config(given.shape)
        rows = list(measure(ours, peers, given.scenario, given.repeats, shape, limits))
    console.print(table(rows))
    if given.json:
        given.json.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def measure(
    ours: Worker,
    peers: Sequence[Worker],
    names: Sequence[str],
    repeats: int,
    shape: LlamaConfig,
    limits: tuple[float, float],
) -> Iterator[Row]:
    """Each scenario, all engines in turns. The first turn warms up, and does not count."""
    for name in names:
        scenario = SCENARIOS[name]
        turns = [[w.rate(scenario) for w in (ours, *peers)] for _ in range(repeats + 1)][1:]
        ways = [("everything on", [ours.rate(scenario | {"way": "everything"}) for _ in turns])]
        columns = [[turn[i + 1] for turn in turns] for i in range(len(peers))]
        others = list(zip([p.name for p in peers], columns, strict=True))
        mine = [turn[0] for turn in turns]
        for peer, theirs in others + (ways if scenario["name"] == "decode" else []):
            ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
            yield Row(
                scenario=name,
                peer=peer,
                precision="float32",
                ours=statistics.median(mine),
                theirs=statistics.median(theirs),
                ratio=statistics.median(ratios),
                spread=(min(ratios), max(ratios)),
                floor=best(scenario, shape, *limits),
            )


def table(rows: Sequence[Row]) -> Table:
    result = Table("scenario", "beside", "ours", "theirs", "ratio", "spread", "of the floor")
    for row in rows:
        low, high = row.spread
        result.add_row(
            row.scenario,
            row.peer,
            f"{row.ours:.1f}",
            f"{row.theirs:.1f}",
            f"{row.ratio:.2f}",
            f"{low:.2f}–{high:.2f}",
            f"{row.ours / row.floor:.2f}",
        )
    return result


if __name__ == "__main__":
    main()
