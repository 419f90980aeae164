"""The protocol of the workers (`benchmarks.workers`). Peers' workers import this file from their
own directory, in whatever environment they run.
"""

import json
import sys
from collections.abc import Callable, Mapping


def serve(measurements: Mapping[str, Callable[..., float]], description: str) -> None:
    """Report that the worker is ready, then run the measurements that are requested."""
    print(json.dumps({"ready": description}), flush=True)
    for line in sys.stdin:
        arguments = json.loads(line)
        print(json.dumps(measurements[arguments.pop("name")](**arguments)), flush=True)
