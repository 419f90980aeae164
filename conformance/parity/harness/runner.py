"""Every property, outside of a test runner: on any device, as often as one likes, and with the same
seed in the same way.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from textwrap import indent
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from rich.console import Console
from rich.progress import Progress

from conformance.parity.harness.backends import BACKENDS, NoText
from conformance.parity.harness.properties import OF_FUNCTIONS, OF_MODELS
from conformance.parity.harness.property import Property, Tally


def run_all(
    backend_name: str,
    directories: Sequence[Path],
    max_examples: int,
    seed: int,
    only: str | None = None,
    console: Console | None = None,
) -> bool:
    """Whether a backend has every property, each tried on max_examples examples. A line for each is
    printed. seed: where the search starts. only: a pattern of names, as of files ("logits/*"). The
    properties of a whole engine are tried on each checkpoint directory.
    """
    console = console or Console()
    search = Search(max_examples, seed, console)
    of_functions = [one for one in OF_FUNCTIONS if wanted(one.name, only)]
    of_models = [one for one in OF_MODELS if wanted(one.name, only)]
    if not of_functions and not of_models:
        console.print(f"no property is called {only}", highlight=False, markup=False)
        return False
    right = all([search.holds(one) for one in of_functions])
    for directory in directories if of_models else ():
        console.print(f"{directory}:", highlight=False, markup=False)
        with closing(BACKENDS[backend_name](directory)) as backend:
            for one in of_models:
                if one.reads_text and isinstance(backend.model.tokenizer, NoText):
                    console.print(f"  {one.name}: left out, for there is no tokenizer")
                else:
                    right &= search.holds(one.of(backend))
    return right


def wanted(name: str, only: str | None) -> bool:
    return only is None or fnmatch(name, only)


@dataclass(frozen=True)
class Search:
    """How properties are tried, and where it is told."""

    max_examples: int
    seed: int
    console: Console

    def holds(self, one: Property) -> bool:
        """Try one property, and print a line: what was tried, or the simplest failure found."""
        tally, failed = Tally(), False
        with Progress(
            console=self.console, transient=True, disable=not self.console.is_terminal
        ) as bar:
            task = bar.add_task(one.name, total=self.max_examples)
            trial = Trial(one, tally, lambda: bar.advance(task))
            try:
                seed(self.seed)(self._settings()(trial.test))()
            except Exception as error:
                failed = True
                line = f"{one.name}: FAILS: {one.clause}\n{error}\nfor {trial.example}"
        if not failed:
            line = f"{one.name}: {told(tally)}"
        self.console.print(indent(line, "  "), highlight=False, markup=False, soft_wrap=True)
        return not failed

    def _settings(self) -> settings:
        return settings(
            max_examples=self.max_examples,
            deadline=None,
            database=None,
            derandomize=False,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )


class Trial:
    """One property as a hypothesis test. example: the last that was tried, and after a failure the
    simplest that fails.
    """

    def __init__(self, one: Property, tally: Tally, tried: Callable[[], None]) -> None:
        self.example: Any = None

        @given(one.examples)
        def test(example: Any) -> None:
            self.example = example
            tried()
            one.check(example, tally)
            tally.examples += 1

        self.test: Callable[[], None] = test


def told(tally: Tally) -> str:
    """A tally in words."""
    counts = {"examples": tally.examples, **tally.counts, "near decisions": tally.near}
    line = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{line} ({tally.other} fell otherwise)" if tally.near else line
