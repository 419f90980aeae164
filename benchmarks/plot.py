"""Plot tokens per second against streams, a line per engine: PYTHON plot.py RESULTS.json FILE.svg

RESULTS.json is written by `python -m benchmarks --json`. This file needs matplotlib and nothing of
this project, so any environment with matplotlib will do.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib import pyplot

ROOFLINE = "roofline: the weights read once per step"


def lines(results: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Return tokens per second by engine and number of streams."""
    rates: dict[str, dict[int, float]] = defaultdict(dict)
    for result in results:
        count, _, unit = result["scenario"].partition(" ")
        if unit in ("stream", "streams"):
            rates["this engine"][int(count)] = result["engine"]
            rates[result["peer"]][int(count)] = result["peer_rate"]
            rates[ROOFLINE][int(count)] = result["roofline"]
    return rates


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    rates = lines([json.loads(line) for line in source.read_text().splitlines()])
    pyplot.rcParams["svg.hashsalt"] = "the same file for the same rows"
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for name, line in rates.items():
        style = {"linestyle": ":", "color": "gray"} if name == ROOFLINE else {"marker": "o"}
        axes.plot(list(line), list(line.values()), label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="streams", ylabel="tokens per second, together")
    streams = sorted(rates["this engine"])
    axes.set_xticks(streams, labels=list(map(str, streams)))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
