"""How a worker is asked, and how it answers (`benchmarks.workers`). Peers' workers find it beside
themselves, in whatever environment they run.
"""

import json
import sys
from collections.abc import Callable, Mapping


def answer(answers: Mapping[str, Callable[..., float]], what: str) -> None:
    """Say what it is, and then a number for each question, until there are no more."""
    print(json.dumps({"ready": what}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(answers[asked.pop("name")](**asked)), flush=True)
