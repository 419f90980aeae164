"""How a peer's worker is asked, and how it answers (`benchmarks.workers`). It is found beside the
scripts, in whatever environment they run.
"""

import json
import sys
from typing import Protocol


class Runner(Protocol):
    """Each returns tokens per second."""

    def decode(self, streams: int, prompt: int, tokens: int) -> float: ...

    def prefill(self, prompt: int) -> float: ...


def answer(runner: Runner, what: str) -> None:
    """Say what it is, and then a number for each scenario, until there are no more."""
    print(json.dumps({"ready": what}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        run = {"decode": runner.decode, "prefill": runner.prefill}[asked.pop("name")]
        print(json.dumps(run(**asked)), flush=True)
