"""The JSON file of a run, and its Markdown table.

    python -m benchmarks.http.report FILE.json [--into PAGE.md]

The values are medians over the rounds. A ratio is that of the first server to this one in the same
round: the median, and the lowest and the highest. `--into` replaces the table of a page, which is
between two comments.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Value = Callable[[Json], float | None]  # of a row

BEGIN, END = "<!-- begin: benchmarks.http -->", "<!-- end: benchmarks.http -->"
HEAD = (
    "load (prompt + output tokens)",
    "server",
    "tokens/s",
    "ratio",
    "first token p50, s",
    "ratio",
    "p99, s",
    "ratio",
    "between tokens p50, p99, ms",
    "completed",
)


def load(path: Path) -> Json:
    document: Json = json.loads(path.read_text())
    return document


def save(path: Path, servers: dict[str, str], options: Json, rows: Iterable[Json]) -> None:
    """Write a run. servers: the URL or the command of each, by name."""
    document = {"servers": servers, "options": options, "rows": list(rows)}
    path.write_text(json.dumps(document, indent=1) + "\n")


def table(document: Json) -> str:
    """Return the Markdown table: a line for each workload, group of requests, and server."""
    lines = [HEAD, ["---"] * len(HEAD)]
    rows: list[Json] = document["rows"]
    for workload in dict.fromkeys(row["workload"] for row in rows):
        of_workload = [row for row in rows if row["workload"] == workload]
        groups = dict.fromkeys(group for row in of_workload for group in row["latencies"])
        for i, group in enumerate(groups or {"": None}):
            title = workload if len(groups) < 2 else f"{workload}: {group}"
            for j, server in enumerate(document["servers"]):
                values = cells(of_workload, list(document["servers"])[0], server, group, i == 0)
                lines.append([title if j == 0 else "", server, *values])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(rows: Sequence[Json], first: str, server: str, group: str, has_totals: bool) -> list[str]:
    """Return the cells of a server. has_totals: include those of all groups together."""

    def latency(name: str) -> Value:
        return lambda row: row["latencies"].get(group, {}).get(name)

    def compared(value: Value, form: str) -> list[str]:
        own = by_round(rows, server, value)
        ratio = "" if server == first else ratios(by_round(rows, first, value), own)
        return [median(own.values(), form), ratio]

    own = [row for row in rows if row["server"] == server]
    completed = f"{sum(r['completed'] for r in own)} of {sum(r['sent'] for r in own)}"
    between = [
        median(by_round(rows, server, latency(name)).values(), "{:.0f}", 1e3)
        for name in ("itl_p50", "itl_p99")
    ]
    rate = compared(lambda row: row["tokens_per_second"], "{:.1f}")
    return [
        *(rate if has_totals else ["", ""]),
        *compared(latency("ttft_p50"), "{:.2f}"),
        *compared(latency("ttft_p99"), "{:.2f}"),
        ", ".join(between),
        completed if has_totals else "",
    ]


def by_round(rows: Iterable[Json], server: str, value: Value) -> dict[int, float]:
    """Return the values of a server by round, without those that do not exist."""
    values = {row["round"]: value(row) for row in rows if row["server"] == server}
    return {number: v for number, v in values.items() if v is not None}


def median(values: Iterable[float], form: str, factor: float = 1.0) -> str:
    known = list(values)
    return form.format(factor * statistics.median(known)) if known else "–"


def ratios(ours: dict[int, float], theirs: dict[int, float]) -> str:
    """Return the median and the range of the ratios of the rounds."""
    values = [ours[i] / theirs[i] for i in ours if theirs.get(i)]
    if not values:
        return "–"
    spread = f" ({min(values):.2f}–{max(values):.2f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.2f}{spread}"


def replace(page: str, content: str) -> str:
    """Return the page with a new table. Raises ValueError if it has no place for one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page must have {BEGIN} and {END}")
    return f"{before}{begin}\n\n{content}\n{end}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of a file, or put it into a page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http.report")
    parser.add_argument("file", type=Path, help="written by `python -m benchmarks.http --json`")
    parser.add_argument("--into", type=Path, help="a Markdown page")
    options = parser.parse_args(arguments)
    content = table(load(options.file))
    if options.into is None:
        print(content, end="")
    else:
        options.into.write_text(replace(options.into.read_text(), content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
