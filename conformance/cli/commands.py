"""The commands. Each returns its exit status, or raises CannotRun."""

import argparse
import importlib
import inspect
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.markup import escape

from conformance.cli import expectations
from conformance.cli.inputs import (
    CannotRun,
    build_target,
    checkpoint_digest,
    compare_weights,
    ensure_reachable,
    ensure_writable,
    read_expectations,
    read_report,
    save,
    selected_checks,
)
from conformance.cli.progress import INTERRUPTED, CtrlC, ProgressBar
from conformance.cli.publishing import badge, site
from conformance.cli.screen import console, show
from conformance.cli.vectors import vectors
from conformance.harness import registry, runner
from conformance.harness.result import Report, Result
from conformance.reports import html, junit, markdown, table
from conformance.third_party import conformance_checkpoint
from reference.bundle import EMBEDDED
from reference.params import CompletionParams

RECORDED_OPTIONS = ("only", "skip", "depth", "profile", "tolerance", "max_requests", "concurrency")


def run(options: argparse.Namespace) -> int:
    """Check a server against the specification, and report the results, also after Ctrl-C."""
    checks, expected = selected_checks(options), read_expectations(options)
    ensure_writable(options, "report", "json", "junit")
    start = time.monotonic()
    with httpx.Client(timeout=options.timeout) as http:
        target = build_target(options, http)
        fingerprint = ensure_reachable(target)
        target, agreement = compare_weights(target, options.truth, options.tolerance)
        if agreement is not None:
            show(f"--truth {options.truth}: {agreement}")
        with CtrlC(target.budget) as ctrl_c, ProgressBar(len(checks), console) as show_result:

            def on_result(result: Result) -> None:
                show_result(expectations.excused(result, expected))

            results = runner.run(target, checks, options.concurrency, on_result)
    left_out = {c.id for c in registry.all_checks()} - {c.id for c in checks}
    results, complaints = expectations.apply(results, expected, left_out)
    report = Report(
        server=options.name or options.url,
        about=dict(options.about),
        url=target.base,
        model=target.model,
        fingerprint=fingerprint,
        truth=Path(options.truth).resolve().name if options.truth else None,
        truth_digest=checkpoint_digest(target),
        deviation=agreement.deviation if agreement else None,
        tolerance=agreement.tolerance if agreement else None,
        options={name: getattr(options, name) for name in RECORDED_OPTIONS},
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
    checks = selected_checks(options)
    if options.json:
        names = ("id", "parameter", "clause", "level", "evidence", "depth", "spec")
        print(json.dumps([{n: getattr(c, n) for n in names} for c in checks], indent=1))
    else:
        show(table.checks(checks))
    return 0


def explain(options: argparse.Namespace) -> int:
    """Print a check: its clause, the source of its spec, and its own source. Of a parameter, print
    the source of its spec, and its checks.
    """
    checks = {c.id: c for c in registry.all_checks()}
    parameters = dict.fromkeys(c.parameter for c in checks.values())
    if options.id in parameters:
        return explain_parameter(options.id, list(checks.values()))
    if options.id not in checks:
        near = [i for i in checks if i.startswith(options.id)]
        near += get_close_matches(options.id, [*checks, *parameters], n=1)
        hint = f"did you mean {near[0]}?" if near else "`list` shows them all"
        raise CannotRun(f"ID {options.id!r} does not match a check or a parameter; {hint}")
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


def explain_parameter(name: str, checks: Sequence[registry.Check]) -> int:
    """Print the meaning of a parameter, the source that defines it, and its checks."""
    own = [c for c in checks if c.parameter == name]
    meanings = {f.name: f.metadata["meaning"] for f in fields(CompletionParams)}
    spec = registry.SPEC.get(name, own[0].spec)
    parts = [meanings.get(name, ""), f"Defined by {spec}.", source_of(spec)]
    console.print(
        "\n\n".join([f"[bold]{name}[/]", *(escape(p) for p in parts if p)]), soft_wrap=True
    )
    console.print()
    show(table.checks(own))
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
    reports = with_distinct_names([read_report(path) for path in options.runs])
    save(options, "report", lambda: html.page(reports))
    save(options, "markdown", lambda: markdown.page(reports))
    show(table.comparison(reports))
    return 0


def with_distinct_names(reports: Sequence[Report]) -> list[Report]:
    """Return reports in which equal names are distinguished by time, or else by a number."""
    names = Counter(r.server for r in reports)
    dated = [f"{r.server}, {r.started[:16]}" if names[r.server] > 1 else r.server for r in reports]
    repeated, seen = Counter(dated), Counter[str]()
    distinct = []
    for report, name in zip(reports, dated, strict=True):
        seen[name] += 1
        name = f"{name}, {seen[name]}" if repeated[name] > 1 else name
        distinct.append(report.model_copy(update={"server": name}))
    return distinct


def checkpoint(options: argparse.Namespace) -> int:
    """Write the conformance checkpoint, whose name for `run --truth` is `conformance`."""
    try:
        conformance_checkpoint.write(options.out)
        if options.format == "gguf":
            from conformance.third_party import to_gguf  # it needs optional packages

            to_gguf.convert(options.out, options.out / "model.gguf")
    except ModuleNotFoundError as error:
        raise CannotRun(f"--format gguf needs the package {error.name}") from error
    except OSError as error:
        raise CannotRun(f"DIR {options.out}: {error.strerror}") from error
    show(f"{options.out}: serve it, and run with --truth conformance")
    return 0


def parity(options: argparse.Namespace) -> int:
    """Run the parity properties of a backend."""
    try:
        from jax_backend.accelerators import use_platform

        use_platform()
        from conformance.parity.properties import ENGINE_PROPERTIES, FUNCTION_PROPERTIES
        from conformance.parity.runner import is_selected, run_all
    except ModuleNotFoundError as error:
        raise CannotRun(f"parity needs the package {error.name}, which is not installed") from error
    except ValueError as error:
        raise CannotRun(str(error)) from error
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
    "site": site,
    "badge": badge,
    "checkpoint": checkpoint,
    "parity": parity,
    "vectors": vectors,
}
