"""Tokens per second against streams, a line for each engine: PYTHON plot.py ROWS.json FILE.svg

ROWS.json is what `python -m benchmarks --json` writes. It wants matplotlib, which nothing else here
does: any environment that has it will do.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib import pyplot

FLOOR = "the weights read once a step"


def lines(rows: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Tokens per second by engine and number of streams."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        count, _, what = row["scenario"].partition(" ")
        if what in ("stream", "streams"):
            found["this engine"][int(count)] = row["ours"]
            found[row["peer"]][int(count)] = row["theirs"]
            found[FLOOR][int(count)] = row["floor"]
    return found


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    found = lines([json.loads(line) for line in source.read_text().splitlines()])
    pyplot.rcParams["svg.hashsalt"] = "the same file for the same rows"
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for name, line in found.items():
        style = {"linestyle": ":", "color": "gray"} if name == FLOOR else {"marker": "o"}
        axes.plot(list(line), list(line.values()), label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="streams", ylabel="tokens per second, together")
    streams = sorted(found["this engine"])
    axes.set_xticks(streams, labels=list(map(str, streams)))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
