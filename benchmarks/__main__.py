"""This engine beside others, on one checkpoint, in turns, in one run.

    python -m benchmarks --peer llama.cpp=PYTHON:FILE.gguf --peer transformers=PYTHON [--json FILE]

A peer is found in an environment of its own, which its PYTHON belongs to; transformers-compiled is
transformers that decodes with a cache of a fixed size and torch.compile. The checkpoint is made
here (`--checkpoint`); `python -m conformance.third_party.to_gguf` makes llama.cpp's file from it.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
from rich.console import Console
from rich.table import Table

from benchmarks.checkpoint import write
from benchmarks.roofline import THREADS
from benchmarks.shapes import SHAPES, config, read_weights

WORKERS = Path(__file__).parent / "workers"
SCENARIOS: dict[str, dict[str, Any]] = {
    "1 stream": {"name": "decode", "streams": 1, "prompt": 32, "tokens": 64},
    "8 streams": {"name": "decode", "streams": 8, "prompt": 32, "tokens": 64},
    "32 streams": {"name": "decode", "streams": 32, "prompt": 32, "tokens": 48},
    "64 streams": {"name": "decode", "streams": 64, "prompt": 32, "tokens": 48},
    "prefill 512": {"name": "prefill", "prompt": 512},
    "prefill 2048": {"name": "prefill", "prompt": 2048},
}
PROMPTS = ["prefill 512", "prefill 2048"]
AWAKE = {"name": "prefill", "prompt": 64}
OURS = "this engine"
PEERS = {
    "llama.cpp": ("llama_cpp_worker.py",),
    "transformers": ("transformers_worker.py",),
    "transformers-compiled": ("transformers_worker.py", "--compiled"),
}
# What this engine does in a second way, beside the first: which part of which scenario.
WAYS = {
    "decode": ("itself, everything on", {"way": "everything"}),
    "prefill": ("itself, prompt known", {"known": True}),
}


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

    def ask(self, question: Mapping[str, Any]) -> float:
        """Tokens per second; what else it may be asked, and tells, is in `benchmarks.workers`."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        found = float(self._line())
        self._process.send_signal(signal.SIGSTOP)
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.close()
        self._process.wait()


def command(peer: str, checkpoint: Path, precision: str) -> tuple[str, list[str]]:
    """NAME=PYTHON or NAME=PYTHON:FILE, as a name and what starts it. Raises SystemExit."""
    name, _, rest = peer.partition("=")
    python, _, file = rest.partition(":")
    if name not in PEERS or not python:
        raise SystemExit(
            f"--peer {peer}: not NAME=PYTHON or NAME=PYTHON:FILE, of {', '.join(PEERS)}"
        )
    if name == "llama.cpp" and precision != "float32":
        raise SystemExit(f"--peer {peer}: its file is float32, and --precision {precision}")
    script, *rest = PEERS[name]
    words = [python, str(WORKERS / script), file or str(checkpoint), str(THREADS), precision, *rest]
    return name, words


@contextmanager
def running(name: str, words: Sequence[str]) -> Iterator[Worker]:
    worker = Worker(name, words)
    try:
        yield worker
    finally:
        worker.close()


def best(scenario: Mapping[str, Any], weights: int, bandwidth: float, products: float) -> float:
    """Tokens per second if nothing but the weights had to be read, or nothing but products made.
    bandwidth: in weights per second.
    """
    by_products = products / (2 * weights)
    if scenario["name"] == "prefill":
        return by_products
    return min(by_products, scenario["streams"] * bandwidth / weights)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    option = parser.add_argument
    option("--shape", choices=SHAPES, default="134M")
    option("--precision", choices=("float32", "bfloat16"), default="float32")
    option("--checkpoint", type=Path, default=Path("build/bench"), help="made if absent")
    option("--peer", action="append", default=[], help="NAME=PYTHON[:FILE], repeatable")
    option("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS)[:3] + PROMPTS)
    option("--repeats", type=int, default=5)
    option("--slots", type=int, help="of this engine; if not given, for the most streams")
    option("--invariant", action="store_true", help="only widths that round alike, as it is served")
    option("--json", type=Path, help="write rows to this file")
    given = parser.parse_args()
    most = max(SCENARIOS[name].get("streams", 1) for name in given.scenario)
    slots = given.slots or most
    if slots < most:
        parser.error(f"--slots {slots}: {most} streams do not run together")
    directory = given.checkpoint / f"{given.shape}-{given.precision}"
    write(directory, given.shape, given.precision)
    own = [sys.executable, "-m", "benchmarks.workers.ours", str(directory), str(slots)]
    own += [given.precision, *(["--invariant"] if given.invariant else [])]
    console = Console()
    with ExitStack() as stack:
        ours = stack.enter_context(running(OURS, own))
        bandwidth, products = ours.ask({"name": "bandwidth"}), ours.ask({"name": "products"})
        console.print(f"{bandwidth / 1e9:.0f} GB/s, {products / 1e9:.0f} GFLOP/s")
        peers = [
            stack.enter_context(running(*command(peer, directory, given.precision)))
            for peer in given.peer
        ]
        for worker in (ours, *peers):
            console.print(f"{worker.name}: {worker.what}")
        weights = read_weights(config(given.shape))
        limits = weights, bandwidth / ml_dtypes.finfo(given.precision).bits * 8, products
        rows = []
        for name in given.scenario:
            found = measure(ours, peers, name, given.repeats)
            rows += [
                beside(name, given.precision, found, limits, other) for other in list(found)[1:]
            ]
            console.print(table(rows[-len(found) + 1 :]))
    if given.json:
        given.json.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


Rates = dict[str, list[float]]


def measure(ours: Worker, peers: Sequence[Worker], name: str, repeats: int) -> Rates:
    """One scenario, all engines in turns, each of which begins with a short prompt: it has stood
    still before. The first turn warms up, and does not count.
    """
    scenario = SCENARIOS[name]
    way, more = WAYS[scenario["name"]]
    asked = [(w.name, w, scenario) for w in (ours, *peers)] + [(way, ours, scenario | more)]
    found: Rates = {who: [] for who, _, _ in asked}
    for _ in range(repeats + 1):
        for who, worker, question in asked:
            worker.ask(AWAKE)
            found[who].append(worker.ask(question))
    return {who: rates[1:] for who, rates in found.items()}


def beside(
    name: str, precision: str, found: Rates, limits: tuple[int, float, float], other: str
) -> Row:
    """This engine and another, or itself in another way."""
    ratios = [a / b for a, b in zip(found[OURS], found[other], strict=True)]
    return Row(
        scenario=name,
        peer=other,
        precision=precision,
        ours=statistics.median(found[OURS]),
        theirs=statistics.median(found[other]),
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        floor=best(SCENARIOS[name], *limits),
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
