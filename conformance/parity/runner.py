"""Runs properties outside of a test runner: on any device, on any number of examples, reproducibly
from a seed.
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

from conformance.parity.harness.backends import BACKENDS, IdsOnlyTokenizer
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.properties import ENGINE_PROPERTIES, FUNCTION_PROPERTIES


def run_all(
    backend_name: str,
    directories: Sequence[Path],
    max_examples: int,
    seed: int,
    only: str | None = None,
    console: Console | None = None,
) -> bool:
    """Check every property on max_examples examples, print a line for each, and return whether all
    hold. Properties of an engine are checked on each checkpoint directory. seed: of the search.
    only: a pattern of names, as of files ("logits/*").
    """
    console = console or Console()
    search = Search(max_examples, seed, console)
    of_functions = [p for p in FUNCTION_PROPERTIES if is_selected(p.name, only)]
    of_engines = [p for p in ENGINE_PROPERTIES if is_selected(p.name, only)]
    if not of_functions and not of_engines:
        console.print(f"{only} matches no property", highlight=False, markup=False)
        return False
    passed = all([search.passes(p) for p in of_functions])
    for directory in directories if of_engines else ():
        console.print(f"{directory}:", highlight=False, markup=False)
        with closing(BACKENDS[backend_name](directory)) as backend:
            for p in of_engines:
                if p.needs_tokenizer and isinstance(backend.bundle.tokenizer, IdsOnlyTokenizer):
                    console.print(f"  {p.name}: skipped, the model has no tokenizer")
                else:
                    passed &= search.passes(p.bind(backend))
    return passed


def is_selected(name: str, only: str | None) -> bool:
    """Return whether a name matches the pattern, if there is one."""
    return only is None or fnmatch(name, only)


@dataclass(frozen=True)
class Search:
    """Settings of a run."""

    max_examples: int
    seed: int
    console: Console

    def passes(self, tested: Property) -> bool:
        """Check one property and print a line: the coverage, or the simplest failure."""
        coverage, failed = Coverage(), False
        with Progress(
            console=self.console, transient=True, disable=not self.console.is_terminal
        ) as bar:
            task = bar.add_task(tested.name, total=self.max_examples)
            trial = Trial(tested, coverage, lambda: bar.advance(task))
            try:
                seed(self.seed)(self._settings()(trial.test))()
            except Exception as error:
                failed = True
                line = f"{tested.name}: FAILS: {tested.clause}\n{error}\nfor {trial.example}"
        if not failed:
            line = f"{tested.name}: {summary(coverage)}"
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
    """A property as a hypothesis test. example: the last one, which after a failure is the simplest
    that fails.
    """

    def __init__(
        self, tested: Property, coverage: Coverage, on_example: Callable[[], None]
    ) -> None:
        self.example: Any = None

        @given(tested.examples)
        def test(example: Any) -> None:
            self.example = example
            on_example()
            tested.check(example, coverage)
            coverage.examples += 1

        self.test: Callable[[], None] = test


def summary(coverage: Coverage) -> str:
    """Format the coverage."""
    counts = {
        "examples": coverage.examples,
        **coverage.counts,
        "borderline decisions": coverage.borderline,
    }
    line = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{line} ({coverage.flipped} flipped)" if coverage.borderline else line
