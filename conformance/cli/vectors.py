"""The commands of `vectors`: export, check, judge."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from conformance.cli import expectations
from conformance.cli.inputs import CannotRun, ensure_writable, read_expectations, save
from conformance.cli.progress import ProgressBar
from conformance.cli.screen import console, show
from conformance.harness.result import Report, Result
from conformance.harness.runner import ERROR_RATE
from conformance.reports import html, junit, table
from conformance.vectors import folder
from conformance.vectors.checking import Families, check_program, judged
from conformance.vectors.lines import VERSION
from conformance.vectors.program import CannotStart

SAMPLED = "distribution"  # the family that samples are judged by


def vectors(options: argparse.Namespace) -> int:
    return COMMANDS[options.vectors_command](options)


def export(options: argparse.Namespace) -> int:
    """Copy the vectors to a directory."""
    try:
        count = folder.export(options.dir)
    except OSError as error:
        raise CannotRun(f"DIR {error}") from error
    console.print(f"{count} files in {options.dir}; docs/vectors.md describes them", soft_wrap=True)
    return 0


def check(options: argparse.Namespace) -> int:
    """Run a program on the selected cases, and report the results."""
    families = selected(options, options.only)

    def run(on_result: Callable[[Result], None]) -> tuple[list[Result], list[str]]:
        try:
            directory = vectors_directory(options)
            return check_program(options.program, directory, families, options.timeout, on_result)
        except CannotStart as error:
            raise CannotRun(str(error)) from error

    return report(options, families, options.program, run)


def judge(options: argparse.Namespace) -> int:
    """Test sampled tokens against the distributions, and report the results."""
    families = selected(options, options.only or [SAMPLED])
    if any(header["family"] != SAMPLED for header, _ in families):
        raise CannotRun(f"--only: samples belong to the family {SAMPLED!r}")
    samples = read_samples(options.samples, [case.id for _, cases in families for case in cases])

    def run(on_result: Callable[[Result], None]) -> tuple[list[Result], list[str]]:
        return judged(families, samples, on_result), []

    return report(options, families, str(options.samples), run)


def vectors_directory(options: argparse.Namespace) -> Path:
    return options.vectors or folder.folder()


def selected(options: argparse.Namespace, only: Sequence[str]) -> Families:
    """Return the cases that the options select, at least one."""
    directory = vectors_directory(options)
    if not (directory / folder.WITHDRAWN).is_file():
        raise CannotRun(f"--vectors {directory}: has no {folder.WITHDRAWN}")
    try:
        families = folder.selected(directory, only, options.skip)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise CannotRun(f"--only, --skip: {error}") from error
    if not families:
        raise CannotRun("--only and --skip leave no case")
    return families


def read_samples(path: Path, known: Sequence[str]) -> dict[str, Any]:
    """Read the samples of each case: lines of {"id", "tokens"}; those of one id are joined."""
    samples: dict[str, Any] = {}
    try:
        for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
            if text.strip():
                value = json.loads(text)
                if value["id"] not in known:
                    raise ValueError(f"line {number}: {value['id']!r} is not a selected case")
                samples.setdefault(value["id"], []).extend(value["tokens"])
    except OSError as error:
        raise CannotRun(f"SAMPLES {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"SAMPLES {path}: {error}") from error
    return samples


Run = Callable[[Callable[[Result], None]], tuple[list[Result], list[str]]]


def report(options: argparse.Namespace, families: Families, target: str, run: Run) -> int:
    """Run the cases with a progress bar, apply the expectations, write the reports."""
    expected = read_expectations(options)
    ensure_writable(options, "report", "json", "junit")
    start, count = time.monotonic(), sum(len(cases) for _, cases in families)
    with ProgressBar(count, console) as show_result:
        results, strays = run(lambda r: show_result(expectations.excused(r, expected)))
    every = folder.selected(vectors_directory(options))
    left_out = {case.id for _, cases in every for case in cases} - {r.id for r in results}
    results, complaints = expectations.apply(results, expected, left_out)
    outcome = Report(
        server=options.name or target,
        url=target,
        model=f"vectors {VERSION}",
        truth="the reference",
        seed=0,
        results=results,
        complaints=[*strays, *complaints],
        requests=len(results),
        seconds=round(time.monotonic() - start, 1),
        error_rate=ERROR_RATE,
    )
    show(table.summary(outcome))
    save(options, "json", lambda: outcome.model_dump_json(indent=1))
    save(options, "junit", lambda: junit.document(outcome))
    save(options, "report", lambda: html.page([outcome]))
    return 0 if outcome.ok else 1


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "export": export,
    "check": check,
    "judge": judge,
}
