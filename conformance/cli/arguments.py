"""The argument parser of the command line."""

import argparse
import math
import os
from pathlib import Path

from conformance.harness.registry import PROFILES
from conformance.verdicts import Depth

KEY = "COMPLETIONS_API_KEY"  # specific, so that no other program's secret is sent to a server
NAMES = "`conformance` (see the command checkpoint), or `embedded`"
FORMATS = ("hf", "gguf")
ABOUT = "a line about the server in reports, such as version=1.2; repeatable"
PROG = "python -m conformance"
DESCRIPTION = "Conformance checks for the parameters of a completions endpoint."


def build_parser(prog: str = PROG) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_run_options(commands.add_parser("run", help="check a server against the specification"))
    listing = commands.add_parser("list", help="list the checks")
    add_selection_options(listing)
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    explain = commands.add_parser("explain", help="show a check's clause and the code it tests")
    explain.add_argument("id", help="a check id, as shown by `list`, or a parameter")
    add_compare_options(commands.add_parser("compare", help="show several runs side by side"))
    add_site_options(
        commands.add_parser("site", help="write a static site of several runs, a page for each")
    )
    add_badge_options(commands.add_parser("badge", help="write the result of a run as a badge"))
    add_checkpoint_options(
        commands.add_parser("checkpoint", help="write a checkpoint to serve with any engine")
    )
    add_parity_options(
        commands.add_parser("parity", help="compare a backend with the reference, in one process")
    )
    add_vectors_options(
        commands.add_parser("vectors", help="test a sampler without a server, by test vectors")
    )
    return parser


def add_selection_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select checks: globs of ids, or parameter names."""
    option = parser.add_argument
    option("--only", action="append", default=[], metavar="GLOB", help="run these; repeatable")
    option("--skip", action="append", default=[], metavar="GLOB", help="skip these; repeatable")
    option("--depth", action="append", default=[], choices=list(Depth), help="repeatable")
    option("--profile", choices=list(PROFILES), default="full", help="a set of parameters")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("url", help="base URL of the API, such as http://127.0.0.1:8000/v1")
    option("--model", required=True, help="the served model name")
    option("--truth", metavar="CHECKPOINT", help=f"the server's weights: a directory, or {NAMES}")
    option("--tolerance", type=positive_float, help="error of a log-probability; default: measured")
    add_selection_options(parser)
    option("--expect", type=Path, metavar="FILE.toml", help="known deviations, with reasons")
    option("--seed", type=int, default=0, help="seed of the checks' random numbers")
    option("--max-requests", type=positive, help="further checks are INCONCLUSIVE")
    option("--concurrency", type=positive, default=2, help="number of checks at a time")
    option("--api-key", type=api_key, default=os.environ.get(KEY), help=f"default: {KEY}")
    option("--timeout", type=positive_float, default=120.0, help="of a request, in seconds")
    option("--name", help="the server's name in reports; default: the URL")
    option("--about", action="append", default=[], type=key_value, metavar="KEY=TEXT", help=ABOUT)
    option("--report", type=Path, metavar="OUT.html", help="write a self-contained page")
    option("--json", type=Path, metavar="OUT.json", help="write results for `compare`")
    option("--junit", type=Path, metavar="OUT.xml", help="write results for CI")


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("runs", type=Path, nargs="+", metavar="RUN.json", help="written by `run --json`")
    option("--report", type=Path, metavar="OUT.html", help="write a self-contained page")
    option("--markdown", type=Path, metavar="OUT.md", help="write the verdicts as a table")


def add_site_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option(
        "out", type=Path, metavar="OUT", help="a directory; it keeps the results of earlier runs"
    )
    option("runs", type=Path, nargs="*", metavar="NAME.json", help="written by `run --json`")
    option(
        "--order", nargs="+", default=[], metavar="NAME", help="of the servers; default: by name"
    )
    option("--markdown", type=Path, metavar="OUT.md", help="write the verdicts as tables, too")


def add_badge_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("run", type=Path, metavar="RUN.json", help="written by `run --json`")
    option("--label", help="the left side; default: the version of the specification")
    option("--out", type=Path, metavar="BADGE.json", help="default: stdout")


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("out", type=Path, metavar="DIR", help="the directory to write")
    option("--format", choices=FORMATS, default="hf", help="gguf: also DIR/model.gguf")


def add_parity_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--backend", choices=["jax"], default="jax")
    option("--model", type=Path, action="append", help="a checkpoint directory; repeatable")
    option("--max-examples", type=positive, default=100, help="examples of each property")
    option("--seed", type=int, default=0, help="seed of the search")
    option("--only", metavar="GLOB", help="properties, like `logits/*`")


def add_vectors_options(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="vectors_command", required=True, metavar="COMMAND")
    export = commands.add_parser("export", help="copy the vectors to a directory")
    export.add_argument("dir", type=Path, metavar="DIR", help="new, or empty")
    check = commands.add_parser("check", help="run a program on the cases")
    help_ = "reads cases from stdin and writes answers to stdout, a line of JSON each"
    check.add_argument("program", metavar="COMMAND", help=help_)
    check.add_argument("--timeout", type=positive_float, default=60.0, help="of an answer, in s")
    judge = commands.add_parser("judge", help="test sampled tokens against the distributions")
    help_ = 'lines of {"id", "tokens"}, with an id of the family `distribution`'
    judge.add_argument("samples", type=Path, metavar="SAMPLES.jsonl", help=help_)
    for command in check, judge:
        option = command.add_argument
        option("--only", action="append", default=[], metavar="GLOB", help="run these; repeatable")
        option("--skip", action="append", default=[], metavar="GLOB", help="skip these; repeatable")
        option(
            "--vectors", type=Path, metavar="DIR", help="exported vectors; default: the own ones"
        )
        option("--name", help="the name of the implementation in reports")
        add_report_options(command)


def add_report_options(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    option("--expect", type=Path, metavar="FILE.toml", help="known deviations, with reasons")
    option("--about", action="append", default=[], type=key_value, metavar="KEY=TEXT", help=ABOUT)
    option("--report", type=Path, metavar="OUT.html", help="write a self-contained page")
    option("--json", type=Path, metavar="OUT.json", help="write results for `compare`")
    option("--junit", type=Path, metavar="OUT.xml", help="write results for CI")


def api_key(text: str) -> str | None:
    """Parse a key for a header. The error does not show the key."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError("a key must be ASCII characters without spaces")
    return text or None


def key_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"must be KEY=TEXT, got {text}")
    return key.strip(), value.strip()


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def positive_float(text: str) -> float:
    if not 0 < (number := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"must be a finite number above 0, got {text}")
    return number
