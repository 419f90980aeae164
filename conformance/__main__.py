"""python -m conformance parity [--model DIR …] [--max-examples N] [--seed S]"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress

from conformance.parity import agreement, circumstances
from conformance.parity.backends import BACKENDS, Backend
from conformance.parity.requests import Asked, asked, collect
from reference.model import EMBEDDED

console = Console()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 if everything agrees, 1 if not."""
    options = parser().parse_args(arguments)
    failed = False
    for directory in options.model or [EMBEDDED / "text"]:
        backend = BACKENDS[options.backend](directory)
        try:
            for check in agree, stay_the_same:
                console.print(f"{directory.name}: {check(backend, options)}", highlight=False)
        except AssertionError as error:
            console.print(f"{directory.name}: {error}", highlight=False, markup=False)
            failed = True
        finally:
            backend.close()
    return int(failed)


def agree(backend: Backend, options: argparse.Namespace) -> str:
    """Whole requests against the reference."""
    tally = agreement.Tally()
    vocab_size = backend.model.vocab_size

    def compare(one: Asked) -> None:
        [answer] = collect(backend.roomy, [one.request])
        agreement.compare(backend.model, one.request, answer, tally)

    run("against the reference", asked(vocab_size), compare, options)
    return (
        f"{tally.requests} requests, {tally.tokens} tokens: the reference agrees, but for "
        f"{tally.near} tokens within the tolerance of {agreement.TOLERANCE} of a logit"
    )


def stay_the_same(backend: Backend, options: argparse.Namespace) -> str:
    """The same requests in every circumstance."""
    compared = 0
    crowds = st.lists(asked(backend.model.vocab_size, 160, 90), min_size=2, max_size=8)

    def compare(crowd: list[Asked]) -> None:
        nonlocal compared
        requests = [one.request for one in crowd]
        compared += circumstances.check(backend.roomy, backend.tight, requests)

    run("alone, cached, crowded", crowds, compare, options)
    return (
        f"{compared} requests alone, in a crowd, cached and in a tight place "
        f"({backend.preempted()} times one gave way): the same bits"
    )


def run(
    what: str,
    examples: st.SearchStrategy[Any],
    check: Callable[[Any], None],
    options: argparse.Namespace,
) -> None:
    """As a property, outside of a test runner. The first failure is the simplest one found."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=options.max_examples)

        def each(example: Any) -> None:
            bar.advance(task)
            check(example)

        searched = settings(
            max_examples=options.max_examples,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        seed(options.seed)(searched(given(examples)(each)))()


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m conformance")
    commands = result.add_subparsers(required=True, metavar="COMMAND")
    parity = commands.add_parser("parity", help="the reference against a backend, in one process")
    option = parity.add_argument
    option("--backend", choices=BACKENDS, default="jax")
    option("--model", type=Path, action="append", help="a checkpoint directory; repeatable")
    option("--max-examples", type=int, default=100, help="of each property")
    option("--seed", type=int, default=0, help="where the search starts")
    return result


if __name__ == "__main__":
    sys.exit(main())
