"""The commands. Each returns its exit status, or raises CannotRun."""

import argparse
import importlib
import inspect
import time
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import Any

import httpx
from rich.markup import escape

from conformance.cli import expectations
from conformance.cli.inputs import (
    CannotRun,
    build_target,
    ensure_reachable,
    ensure_writable,
    read_expectations,
    read_report,
    save,
    selected_checks,
)
from conformance.cli.progress import INTERRUPTED, CtrlC, ProgressBar
from conformance.cli.screen import console, show
from conformance.cli.vectors import vectors
from conformance.harness import registry, runner
from conformance.harness.result import Report, Result
from conformance.reports import html, junit, markdown, table
from reference.bundle import EMBEDDED


def run(options: argparse.Namespace) -> int:
    """Check a server against the specification, and report the results, also after Ctrl-C."""
    checks, expected = selected_checks(options), read_expectations(options)
    ensure_writable(options, "report", "json", "junit")
    start = time.monotonic()
    with httpx.Client(timeout=options.timeout) as http:
        target = build_target(options, http)
        ensure_reachable(target)
        with CtrlC(target.budget) as ctrl_c, ProgressBar(len(checks), console) as show_result:

            def on_result(result: Result) -> None:
                show_result(expectations.excused(result, expected))

            results = runner.run(target, checks, options.concurrency, on_result)
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


def list_checks(options: argparse.Namespace) -> int:
    """List the selected checks with their clauses."""
    show(table.checks(selected_checks(options)))
    return 0


def explain(options: argparse.Namespace) -> int:
    """Print a check: its clause, the source of its spec, and its own source."""
    checks = {c.id: c for c in registry.all_checks()}
    if options.id not in checks:
        near = [i for i in checks if i.startswith(options.id)]
        near += get_close_matches(options.id, checks, n=1)
        hint = f"did you mean {near[0]}?" if near else "`list` shows them all"
        raise CannotRun(f"ID {options.id!r} does not match a check; {hint}")
    check = checks[options.id]
    function: Any = check.function
    while isinstance(function, partial):
        function = function.func
    file = f"{function.__module__.replace('.', '/')}.py"
    head = f"[bold]{check.id}[/]  {check.level}, {check.evidence}, {check.depth}"
    parts = [f"{check.clause}\n\nDefined by {check.spec}.", source_of(check.spec)]
    parts.append(f"{file}:\n\n{inspect.getsource(function)}")
    console.print("\n\n".join([head, *(escape(p) for p in parts if p)]), soft_wrap=True)
    return 0


def source_of(name: str) -> str | None:
    """Return the source of a function or class of the reference; None for another document."""
    module, _, attribute = name.rpartition(".")
    try:
        definition = getattr(importlib.import_module(f"reference.{module}"), attribute)
        return f"reference/{module.replace('.', '/')}.py:\n\n{inspect.getsource(definition)}"
    except (ImportError, AttributeError, ValueError, TypeError):
        return None


def compare(options: argparse.Namespace) -> int:
    """Write several runs to one page."""
    reports = [read_report(path) for path in options.runs]
    save(options, "report", lambda: html.page(reports))
    save(options, "markdown", lambda: markdown.page(reports))
    show(table.comparison(reports))
    return 0


def parity(options: argparse.Namespace) -> int:
    """Run the parity properties of a backend."""
    try:
        from conformance.parity.properties import ENGINE_PROPERTIES, FUNCTION_PROPERTIES
        from conformance.parity.runner import is_selected, run_all
    except ModuleNotFoundError as error:
        raise CannotRun(f"parity needs the package {error.name}, which is not installed") from error
    names = [p.name for p in FUNCTION_PROPERTIES] + [p.name for p in ENGINE_PROPERTIES]
    if not any(is_selected(name, options.only) for name in names):
        raise CannotRun(f"--only {options.only!r} matches no property")
    directories = options.model or [EMBEDDED / "text"]
    for directory in directories:
        if not (directory / "config.json").is_file():
            raise CannotRun(f"--model {directory}: has no config.json")
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
    "list": list_checks,
    "explain": explain,
    "compare": compare,
    "parity": parity,
    "vectors": vectors,
}
