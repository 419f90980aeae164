"""What is seen of a run while it goes on, and how it is stopped."""

import os
import signal
import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from conformance.harness.result import Result
from conformance.http.client import Budget
from conformance.reports import table
from conformance.verdicts import Verdict

INTERRUPTED = 130  # the exit status of a shell's command that Ctrl-C ended


class progress:
    """A bar on stderr, if that is a terminal, and a line on `console` for each verdict that is no
    PASS, as a context: what to call after each check.
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
        # Both on one terminal: the bar has to know of a line, or is drawn over it.
        self.console = errors if errors.is_terminal and console.is_terminal else console

    def __enter__(self) -> Callable[[Result], None]:
        self.bar.start()
        return self.done

    def done(self, result: Result) -> None:
        self.bar.update(self.task, advance=1, description=result.parameter)
        if result.verdict is not Verdict.PASS:
            self.console.print(table.line(result), soft_wrap=True)

    def __exit__(self, *error: object) -> None:
        self.bar.stop()


class stopping:
    """Ctrl-C, as a context. The first closes the budget: a check that runs ends where it would send
    its next request, those to come end at once, and there is still a report. The second leaves.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget, self.stopped = budget, False

    def __enter__(self) -> "stopping":
        self.before = signal.signal(signal.SIGINT, self.stop)
        return self

    def stop(self, *event: object) -> None:
        if self.stopped:
            leave()
        self.stopped, self.budget.closed = True, "interrupted"

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self.before)


def leave() -> None:
    """At once, with a cursor: the bar may have hidden it. Threads may wait for answers yet."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")
        sys.stderr.flush()
    os._exit(INTERRUPTED)
