"""The command line of the checks."""

import argparse
import math
import os
from pathlib import Path

from conformance.verdicts import Depth

KEY = "COMPLETIONS_API_KEY"  # no name that another program's secret may have
DESCRIPTION = "What the parameters of a completions endpoint mean, held against a server."


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m conformance", description=DESCRIPTION)
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run(commands.add_parser("run", help="hold a server against the specification"))
    selection(commands.add_parser("list", help="the checks"))
    one = commands.add_parser("explain", help="a check: its clause, and the code it rests on")
    one.add_argument("id", help="as `list` shows it")
    compare(commands.add_parser("compare", help="several runs, side by side in one page"))
    parity(commands.add_parser("parity", help="a backend against the reference, in one process"))
    return result


def selection(result: argparse.ArgumentParser) -> None:
    """Which checks: globs like `top_p/*`, `*/out-of-range-*`; a parameter's name is all of its."""
    option = result.add_argument
    option("--only", action="append", default=[], metavar="GLOB", help="these; repeatable")
    option("--skip", action="append", default=[], metavar="GLOB", help="not these; repeatable")
    option("--depth", action="append", default=[], choices=list(Depth), help="repeatable")


def run(result: argparse.ArgumentParser) -> None:
    option = result.add_argument
    option("url", help="where clients find the API, such as http://127.0.0.1:8000/v1")
    option("--model", required=True, help="the name that the server knows it by")
    option("--truth", type=Path, metavar="CHECKPOINT", help="the directory of the same weights")
    option("--tolerance", type=positive_float, help="of a log-probability, where --truth is given")
    selection(result)
    option("--expect", type=Path, metavar="FILE.toml", help="what is known to differ, and why")
    option("--seed", type=int, default=0, help="of the checks' own chance")
    option("--max-requests", type=positive, help="after which checks are INCONCLUSIVE")
    option("--concurrency", type=positive, default=2, help="checks at a time")
    option("--api-key", type=key, default=os.environ.get(KEY), help=f"else from {KEY}")
    option("--timeout", type=positive_float, default=120.0, help="of a request, in seconds")
    option("--name", help="of the server in reports; else the URL")
    option("--report", type=Path, metavar="OUT.html", help="one page that needs nothing else")
    option("--json", type=Path, metavar="OUT.json", help="for `compare`, and for programs")
    option("--junit", type=Path, metavar="OUT.xml", help="for CI")


def compare(result: argparse.ArgumentParser) -> None:
    option = result.add_argument
    option("runs", type=Path, nargs="+", metavar="RUN.json", help="written by `run --json`")
    option("--report", type=Path, required=True, metavar="OUT.html")
    option("--markdown", type=Path, metavar="OUT.md", help="the same as a table of verdicts")


def parity(result: argparse.ArgumentParser) -> None:
    option = result.add_argument
    option("--backend", choices=["jax"], default="jax")
    option("--model", type=Path, action="append", help="a checkpoint directory; repeatable")
    option("--max-examples", type=positive, default=100, help="of each property")
    option("--seed", type=int, default=0, help="where the search starts")
    option("--only", metavar="GLOB", help="properties, like `logits/*`")


def key(text: str) -> str | None:
    """Fit for a header. What is wrong with it is said without showing it."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError("a key is of ASCII characters without spaces")
    return text or None


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def positive_float(text: str) -> float:
    if not 0 < (number := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return number
