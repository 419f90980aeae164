"""The terminal, or the pipe or file in its place."""

from rich.console import Console, RenderableType

console = Console(highlight=False, emoji=False)
PIPE_COLUMNS = 10_000  # rich must not wrap the lines of a pipe or a file


def show(content: RenderableType) -> None:
    pipe = Console(width=PIPE_COLUMNS, highlight=False, emoji=False)
    (console if console.is_terminal else pipe).print(content)
