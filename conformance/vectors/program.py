"""The program under test: a process that reads cases from stdin and writes answers to stdout.

It gets {"id", "family", "input"}, a case a line, and then the end of the input. It writes a line of
JSON with the same id for each case, in any order, at once or all at the end.
"""

import json
import os
import queue
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from conformance.vectors.folder import VARIABLE
from conformance.vectors.lines import Case, line

MAX_LINE = 2**24  # bytes of an answer
END_SECONDS = 5.0  # from the end of the output to the end of the process


class CannotStart(Exception):
    """The command cannot be started; the message names it."""


class Program:
    """A running program. As a context manager, it is killed at the end with all its children.

    seconds: the longest time without an answer. directory: the vectors, for the variable that names
    it.
    """

    def __init__(self, command: str, directory: Path, seconds: float) -> None:
        self.seconds = seconds
        self.errors: IO[bytes] = tempfile.TemporaryFile()
        self.lines: queue.Queue[bytes | None] = queue.Queue(1000)
        self.timed_out = False
        try:
            words = shlex.split(command)
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env=os.environ | {VARIABLE: str(directory.resolve())},
                start_new_session=True,
            )
        except (OSError, ValueError, IndexError) as error:
            self.errors.close()
            raise CannotStart(f"COMMAND {command!r}: {error}") from error

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self.errors.close()

    def kill(self) -> None:
        """Kill the process group, which outlives its leader if that has started children."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def answers(self, cases: Iterable[Case]) -> Iterator[tuple[Any, str]]:
        """Send the cases, and yield each line of the output as JSON and as text; None as JSON for a
        line that is not JSON. Ends with the output, or when no answer arrives in time.
        """
        self.start(self.send, cases)
        self.start(self.receive)
        while True:
            try:
                content = self.lines.get(timeout=self.seconds)
            except queue.Empty:
                self.timed_out = True
                return
            if content is None:
                return
            text = content.decode(errors="backslashreplace").strip()
            if text:
                yield parse(text), text

    def start(self, function: Any, *arguments: Any) -> None:
        threading.Thread(target=function, args=arguments, daemon=True).start()

    def send(self, cases: Iterable[Case]) -> None:
        """Write all cases. A program that ends earlier closes the pipe."""
        pipe = self.process.stdin
        assert pipe is not None
        with suppress(OSError, ValueError):
            for case in cases:
                pipe.write(question(case).encode())
            pipe.close()

    def receive(self) -> None:
        """Put lines in the queue until the output ends."""
        pipe = self.process.stdout
        assert pipe is not None
        with suppress(OSError, ValueError):
            while content := pipe.readline(MAX_LINE):
                self.lines.put(content)
        self.lines.put(None)

    def ending(self) -> str:
        """Return why there are no further answers."""
        if self.timed_out:
            return f"no answer within {self.seconds:g} s"
        try:
            status = self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "the program has closed its output"
        reason = f"status {status}"
        if status < 0:
            with suppress(ValueError):
                reason = signal.Signals(-status).name
        self.errors.seek(0)
        last = self.errors.read()[-2000:].decode(errors="backslashreplace").strip()
        detail = f": {last.splitlines()[-1]}" if last else ""
        return f"the program ended with {reason} before it answered{detail}"


def question(case: Case) -> str:
    """Return the line that a program gets: a case without the expected result."""
    return line({"id": case.id, "family": case.family, "input": dict(case.input)})


def parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
