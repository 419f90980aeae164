"""Makes text from a server safe to show; it may contain any characters."""

LINE = 200  # characters


def printable(text: str) -> str:
    """Escape control characters, direction marks and lone surrogates, but keep line ends."""
    return "".join(c if c.isprintable() or c == "\n" else escape(c) for c in text)


def escape(character: str) -> str:
    """Escape a character as in a Python string."""
    return character.encode("unicode_escape").decode()


def one_line(text: str, max_chars: int = LINE) -> str:
    """Return the beginning of a text, on one line."""
    line = printable(text[: max_chars + 1]).replace("\n", "\\n")
    return line if len(text) <= max_chars else f"{line[:max_chars]}…"
