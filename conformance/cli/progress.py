"""The progress of a run, and how Ctrl-C stops it."""

import os
import signal
import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from conformance.harness.result import Result
from conformance.http.budget import Budget
from conformance.reports import table
from conformance.verdicts import Verdict

QUIET = (Verdict.PASS, Verdict.NOT_APPLICABLE)
INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended


class ProgressBar:
    """A bar on stderr if that is a terminal, and a line on `console` for each check that does not
    pass, the first of those with one reason. As a context manager it gives the function to call
    after each check.
    """

    def __init__(self, total: int, console: Console) -> None:
        errors = Console(stderr=True, highlight=False, emoji=False)
        self.bar = Progress(
            *Progress.get_default_columns()[:2],
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.task = self.bar.add_task("checks", total=total)
        self.shown: set[tuple[Verdict, str]] = set()
        # On one terminal, lines must go through the console of the bar, or it overwrites them.
        self.console = errors if errors.is_terminal and console.is_terminal else console

    def __enter__(self) -> Callable[[Result], None]:
        self.bar.start()
        return self.on_result

    def on_result(self, result: Result) -> None:
        self.bar.update(self.task, advance=1, description=result.parameter)
        reason = result.verdict, result.cause or result.note
        is_repeated = reason[1] != "" and reason in self.shown
        self.shown.add(reason)
        if result.verdict not in QUIET and not is_repeated:
            self.console.print(table.line(result), soft_wrap=True)

    def __exit__(self, *error: object) -> None:
        self.bar.stop()


class CtrlC:
    """A context manager that handles Ctrl-C.

    The first one closes the budget: the running checks end at their next request, later ones end at
    once, and the report is still written. The second one exits.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget, self.stopped = budget, False

    def __enter__(self) -> "CtrlC":
        self.previous = signal.signal(signal.SIGINT, self.stop)
        return self

    def stop(self, *event: object) -> None:
        if self.stopped:
            exit_now()
        self.stopped, self.budget.closed = True, "interrupted"

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self.previous)


def exit_now() -> None:
    """Restore the cursor, which the bar may hide, and exit without waiting for threads."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")
        sys.stderr.flush()
    os._exit(INTERRUPTED)
