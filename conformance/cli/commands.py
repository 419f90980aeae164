"""What each command does. Raises CannotRun if it cannot."""

import argparse
import importlib
import inspect
import time
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

import httpx
from rich.console import Console, RenderableType
from rich.markup import escape

from conformance.cli import expectations
from conformance.cli.inputs import (
    CannotRun,
    can_be_written,
    chosen,
    expected_by,
    reachable,
    read,
    save,
    target_of,
)
from conformance.cli.progress import INTERRUPTED, progress, stopping
from conformance.harness import registry, runner
from conformance.harness.result import Report, Result
from conformance.reports import html, junit, markdown, table
from reference.bundle import EMBEDDED

console = Console(highlight=False, emoji=False)
WIDE = 10_000  # columns of what is no terminal: a line there is a line


def run(options: argparse.Namespace) -> int:
    """Hold a server against the specification. What was found is reported even if it is little,
    because somebody pressed Ctrl-C.
    """
    checks, expected = chosen(options), expected_by(options)
    can_be_written(options, "report", "json", "junit")
    start = time.monotonic()
    with httpx.Client(timeout=options.timeout) as http:
        target = target_of(options, http)
        reachable(target)
        with stopping(target.budget) as ctrl_c, progress(len(checks), console) as tell:

            def done(result: Result) -> None:
                tell(expectations.excused(result, expected))

            results = runner.run(target, checks, options.concurrency, done)
    left_out = {c.id for c in registry.all_checks()} - {c.id for c in checks}
    results, complaints = expectations.apply(results, expected, left_out)
    report = Report(
        server=options.name or options.url,
        url=target.base,
        model=target.model,
        truth=options.truth.resolve().name if options.truth else None,
        seed=options.seed,
        results=results,
        complaints=complaints,
        requests=target.budget.spent,
        seconds=round(time.monotonic() - start, 1),
        error_rate=runner.ERROR_RATE,
    )
    show(table.summary(report))
    save(options, "json", lambda: report.model_dump_json(indent=1))
    save(options, "junit", lambda: junit.document(report))
    save(options, "report", lambda: html.page([report]))
    if ctrl_c.stopped:
        return INTERRUPTED
    return 0 if report.ok else 1


def show(what: RenderableType) -> None:
    terminal = console.is_terminal
    (console if terminal else Console(width=WIDE, highlight=False, emoji=False)).print(what)


def listed(options: argparse.Namespace) -> int:
    """The checks, with their clauses."""
    show(table.checks(chosen(options)))
    return 0


def explain(options: argparse.Namespace) -> int:
    """A check: its clause, and the source that it rests on."""
    found = {c.id: c for c in registry.all_checks()}
    if options.id not in found:
        near = [i for i in found if i.startswith(options.id)]
        near += get_close_matches(options.id, found, n=1)
        meant = f"; is it {near[0]}?" if near else "; `list` shows them all"
        raise CannotRun(f"ID {options.id!r} is no check{meant}")
    check = found[options.id]
    file = inspect.getsourcefile(check.function) or ""
    head = f"[bold]{check.id}[/]  {check.level}, {check.evidence}, {check.depth}"
    parts = [f"{check.clause}\n\nIt rests on {check.rests_on}.", source_of(check.rests_on)]
    parts.append(f"conformance/checks/{Path(file).name}:\n\n{inspect.getsource(check.function)}")
    console.print("\n\n".join([head, *(escape(p) for p in parts if p)]), soft_wrap=True)
    return 0


def source_of(name: str) -> str | None:
    """The code of the reference that a clause rests on, if it is code."""
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(f"reference.{module}"), attribute)
        return f"reference/{module.replace('.', '/')}.py:\n\n{inspect.getsource(found)}"
    except (ImportError, AttributeError, ValueError, TypeError):
        return None


def compare(options: argparse.Namespace) -> int:
    """Several runs in one page."""
    reports = [read(path) for path in options.runs]
    save(options, "report", lambda: html.page(reports))
    save(options, "markdown", lambda: markdown.page(reports))
    show(table.comparison(reports))
    return 0


def parity(options: argparse.Namespace) -> int:
    """A backend against the reference."""
    try:
        from conformance.parity.harness.properties import OF_FUNCTIONS, OF_MODELS
        from conformance.parity.harness.runner import run_all, wanted
    except ModuleNotFoundError as error:
        raise CannotRun(f"parity needs a package that is not there: {error.name}") from error
    names = [one.name for one in OF_FUNCTIONS] + [one.name for one in OF_MODELS]
    if not any(wanted(name, options.only) for name in names):
        raise CannotRun(f"--only {options.only!r} matches no property")
    directories = options.model or [EMBEDDED / "text"]
    for directory in directories:
        if not (directory / "config.json").is_file():
            raise CannotRun(f"--model {directory}: no checkpoint is there")
    agrees = run_all(
        options.backend,
        directories,
        max_examples=options.max_examples,
        seed=options.seed,
        only=options.only,
        console=console,
    )
    return 0 if agrees else 1


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "list": listed,
    "explain": explain,
    "compare": compare,
    "parity": parity,
}
