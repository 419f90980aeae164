"""Completions servers under load, in interleaved runs.

    python -m benchmarks.http engine=http://127.0.0.1:8000/v1 peer='COMMAND --port {port}'

A server is a URL, or a command that this program starts. While one is measured, the others are
stopped with SIGSTOP, if their processes are known: those of a command, and the `--pid` of a URL.
Each round runs every workload on every server, with the same prompts: random token ids, new ones in
each round. Requests are greedy and streamed. Tokens are counted by the servers.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.http.measure import measure
from benchmarks.http.report import save, table
from benchmarks.http.servers import PORT, ServerFailed, running
from benchmarks.http.workloads import FIRST_TOKEN_ID, WORKLOADS

PROG = "python -m benchmarks.http"
DESCRIPTION = "Measure completions servers under load, in interleaved runs."


def main(arguments: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Print a table of the servers. Return 0, or 2 after a line on stderr if a server fails."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    sources = dict(options.server)
    if len(sources) < len(options.server):
        parser.error("server: each must have another name")
    if unknown := dict(options.pid).keys() - sources.keys():
        parser.error(f"--pid: there is no server {', '.join(sorted(unknown))}")
    names = options.workload or list(WORKLOADS)
    parameters = {name: getattr(options, name) for name in ("seed", "vocabulary", "scale")}
    rows = []
    try:
        with running(options.server, dict(options.pid), options.start_timeout) as servers:
            for row in measure(servers, names, options.rounds, **parameters):
                print(summary(row.json()), file=sys.stderr)
                rows.append(row.json())
                if options.json:
                    save(options.json, sources, parameters, rows)
    except (ServerFailed, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table({"servers": sources, "rows": rows}), end="")
    return 0


def summary(row: dict[str, object]) -> str:
    """Return the progress line of a measurement."""
    title = "{workload}, round {round}, {server}: ".format(**row)
    values = "{tokens_per_second:.1f} tokens/s, {completed} of {sent}".format(**row)
    return title + values + (f", {row['errors']}" if row["errors"] else "")


def build_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=DESCRIPTION)
    option = parser.add_argument
    option(
        "server",
        nargs="+",
        type=named,
        metavar="NAME=URL or NAME=COMMAND",
        help=f"base URL, or a command with {PORT}; the first is compared with the others",
    )
    option("--workload", nargs="+", choices=WORKLOADS, help="by default all")
    option("--rounds", type=positive, default=3)
    option(
        "--pid",
        action="append",
        default=[],
        type=named_pids,
        metavar="NAME=PID,…",
        help="all processes of a server with a URL, repeatable",
    )
    option("--vocabulary", type=vocabulary, default=1024, help="prompts have token ids below it")
    option("--scale", type=factor, default=1.0, help="of lengths and numbers of requests")
    option("--seed", type=int, default=0, help="of prompts and arrivals")
    option("--start-timeout", type=float, default=900, help="seconds until a server is ready")
    option("--json", type=Path, help="write the measurements to this file")
    return parser


def named(text: str) -> tuple[str, str]:
    """Parse NAME=URL or NAME=COMMAND. A URL is that of the API, without `/completions`."""
    name, _, source = text.partition("=")
    is_url = source.startswith(("http://", "https://"))
    if not (name and (is_url or PORT in source)):
        raise argparse.ArgumentTypeError(
            f"must be NAME=http://… or NAME=COMMAND with {PORT}, got {text!r}"
        )
    return name, source.rstrip("/").removesuffix("/completions") if is_url else source


def named_pids(text: str) -> tuple[str, tuple[int, ...]]:
    """Parse NAME=PID,PID…"""
    name, _, pids = text.partition("=")
    return name, tuple(map(positive, pids.split(",")))


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def vocabulary(text: str) -> int:
    if (number := int(text)) <= FIRST_TOKEN_ID:
        raise argparse.ArgumentTypeError(f"must be above {FIRST_TOKEN_ID}, got {text}")
    return number


def factor(text: str) -> float:
    if not 0 < (number := float(text)) <= 100:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 100, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
