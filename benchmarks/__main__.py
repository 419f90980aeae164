"""Compare this engine with others on one checkpoint, in interleaved runs.

    python -m benchmarks --peer llama.cpp=PYTHON:FILE.gguf --peer transformers=PYTHON [--json FILE]

A peer runs in an environment of its own, given by its PYTHON. transformers-compiled is transformers
with a static cache and torch.compile. The checkpoint is written first (`--checkpoint`);
`python -m conformance.third_party.to_gguf` converts it for llama.cpp.
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
from benchmarks.shapes import SHAPES, config, weights_per_token

WORKERS = Path(__file__).parent / "workers"
SCENARIOS: dict[str, dict[str, Any]] = {
    "1 stream": {"name": "decode", "streams": 1, "prompt": 32, "tokens": 64},
    "8 streams": {"name": "decode", "streams": 8, "prompt": 32, "tokens": 64},
    "32 streams": {"name": "decode", "streams": 32, "prompt": 32, "tokens": 48},
    "64 streams": {"name": "decode", "streams": 64, "prompt": 32, "tokens": 48},
    "prefill 512": {"name": "prefill", "prompt": 512},
    "prefill 2048": {"name": "prefill", "prompt": 2048},
}
PREFILL_SCENARIOS = ["prefill 512", "prefill 2048"]
WARMUP = {"name": "prefill", "prompt": 64}
THIS_ENGINE = "this engine"
PEERS = {
    "llama.cpp": ("llama_cpp_worker.py",),
    "transformers": ("transformers_worker.py",),
    "transformers-compiled": ("transformers_worker.py", "--compiled"),
}
# This engine is also compared with itself: in each kind of scenario, with one thing changed.
VARIANTS = {
    "decode": ("this engine, all parameters", {"variant": "everything"}),
    "prefill": ("this engine, cached prompt", {"cached": True}),
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One comparison with a peer.

    engine, peer_rate: median tokens per second of this engine and of the peer. ratio: median of the
    ratios of pairs; spread: the lowest and the highest. roofline: the maximum of the machine.
    """

    scenario: str
    peer: str
    precision: str
    engine: float
    peer_rate: float
    ratio: float
    spread: tuple[float, float]
    roofline: float


class Worker:
    """An engine in a process of its own. It is stopped while another one is measured: threads that
    wait for work may spin.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.description = str(self._line()["ready"])
        self._process.send_signal(signal.SIGSTOP)

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended with status {self._process.wait()}")
        return json.loads(line)

    def request(self, measurement: Mapping[str, Any]) -> float:
        """Run a measurement, as described in `benchmarks.workers`, and return its rate."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(json.dumps(measurement) + "\n")
        self._process.stdin.flush()
        rate = float(self._line())
        self._process.send_signal(signal.SIGSTOP)
        return rate

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.close()
        self._process.wait()


def peer_command(peer: str, checkpoint: Path, precision: str) -> tuple[str, list[str]]:
    """Return the name and the command of a peer, from NAME=PYTHON or NAME=PYTHON:FILE. Raises
    SystemExit.
    """
    name, _, rest = peer.partition("=")
    python, _, file = rest.partition(":")
    if name not in PEERS or not python:
        raise SystemExit(
            f"--peer {peer}: must be NAME=PYTHON[:FILE], NAME one of {', '.join(PEERS)}"
        )
    if name == "llama.cpp" and precision != "float32":
        raise SystemExit(f"--peer {peer}: its file is float32, got --precision {precision}")
    script, *options = PEERS[name]
    worker, model = str(WORKERS / script), file or str(checkpoint)
    return name, [python, worker, model, str(THREADS), precision, *options]


@contextmanager
def running(name: str, command: Sequence[str]) -> Iterator[Worker]:
    worker = Worker(name, command)
    try:
        yield worker
    finally:
        worker.close()


@dataclass(frozen=True)
class Limits:
    """The roofline of a model. weights: read for each token. bandwidth: in weights per second."""

    weights: int
    bandwidth: float
    flops: float


def roofline_tokens_per_second(scenario: Mapping[str, Any], limits: Limits) -> float:
    """Return the rate if weights were only read, or only multiplied, whichever is slower."""
    compute_bound = limits.flops / (2 * limits.weights)
    if scenario["name"] == "prefill":
        return compute_bound
    return min(compute_bound, scenario["streams"] * limits.bandwidth / limits.weights)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    option = parser.add_argument
    option("--shape", choices=SHAPES, default="134M")
    option("--precision", choices=("float32", "bfloat16"), default="float32")
    option("--checkpoint", type=Path, default=Path("build/bench"), help="written if absent")
    option("--peer", action="append", default=[], help="NAME=PYTHON[:FILE], repeatable")
    option(
        "--scenario",
        nargs="+",
        choices=SCENARIOS,
        default=list(SCENARIOS)[:3] + PREFILL_SCENARIOS,
    )
    option("--repeats", type=int, default=5)
    option("--slots", type=int, help="of this engine; by default the maximum number of streams")
    option("--invariant", action="store_true", help="batch-invariant mode, the server's default")
    option("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    max_streams = max(SCENARIOS[name].get("streams", 1) for name in options.scenario)
    options.slots = options.slots or max_streams
    if options.slots < max_streams:
        parser.error(f"--slots: must be at least {max_streams} streams, got {options.slots}")
    return options


def main() -> None:
    options = arguments()
    precision = options.precision
    directory = options.checkpoint / f"{options.shape}-{precision}"
    write(directory, options.shape, precision)
    command = [sys.executable, "-m", "benchmarks.workers.jax_worker", str(directory)]
    command += [str(options.slots), precision, *(["--invariant"] if options.invariant else [])]
    console = Console()
    with ExitStack() as stack:
        engine = stack.enter_context(running(THIS_ENGINE, command))
        bandwidth = engine.request({"name": "bandwidth"})
        flops = engine.request({"name": "flops"})
        console.print(f"{bandwidth / 1e9:.0f} GB/s, {flops / 1e9:.0f} GFLOP/s")
        peers = [
            stack.enter_context(running(*peer_command(peer, directory, precision)))
            for peer in options.peer
        ]
        for worker in (engine, *peers):
            console.print(f"{worker.name}: {worker.description}")
        weight_size = ml_dtypes.finfo(precision).bits / 8
        limits = Limits(weights_per_token(config(options.shape)), bandwidth / weight_size, flops)
        results = []
        for name in options.scenario:
            rates = measure(engine, peers, name, options.repeats)
            compared = [compare(name, precision, rates, limits, peer) for peer in list(rates)[1:]]
            console.print(table(compared))
            results += compared
    if options.json:
        options.json.write_text("".join(json.dumps(asdict(r)) + "\n" for r in results))


Rates = dict[str, list[float]]


def measure(engine: Worker, peers: Sequence[Worker], name: str, repeats: int) -> Rates:
    """Measure one scenario, all engines in interleaved runs. Each run begins with a short prefill,
    since the process was stopped before. The first round is a warm-up and is not counted.
    """
    scenario = SCENARIOS[name]
    variant, changes = VARIANTS[scenario["name"]]
    runs = [(worker.name, worker, scenario) for worker in (engine, *peers)]
    runs.append((variant, engine, scenario | changes))
    rates: Rates = {label: [] for label, _, _ in runs}
    for _ in range(repeats + 1):
        for label, worker, measurement in runs:
            worker.request(WARMUP)
            rates[label].append(worker.request(measurement))
    return {label: values[1:] for label, values in rates.items()}


def compare(name: str, precision: str, rates: Rates, limits: Limits, peer: str) -> Result:
    """Compare this engine with a peer, or with itself in a variant."""
    ratios = [a / b for a, b in zip(rates[THIS_ENGINE], rates[peer], strict=True)]
    return Result(
        scenario=name,
        peer=peer,
        precision=precision,
        engine=statistics.median(rates[THIS_ENGINE]),
        peer_rate=statistics.median(rates[peer]),
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        roofline=roofline_tokens_per_second(SCENARIOS[name], limits),
    )


def table(results: Sequence[Result]) -> Table:
    columns = "scenario", "compared with", "engine", "peer", "ratio", "spread", "of the roofline"
    rendered = Table(*columns)
    for result in results:
        low, high = result.spread
        rendered.add_row(
            result.scenario,
            result.peer,
            f"{result.engine:.1f}",
            f"{result.peer_rate:.1f}",
            f"{result.ratio:.2f}",
            f"{low:.2f}–{high:.2f}",
            f"{result.engine / result.roofline:.2f}",
        )
    return rendered


if __name__ == "__main__":
    main()
