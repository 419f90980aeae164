"""What a server sent, so that it can be shown: it may hold anything."""

LINE = 200  # characters of what is told on one line


def visible(text: str) -> str:
    """What has no shape of its own is escaped (control characters, marks of direction, halves of
    surrogates), but for the ends of lines.
    """
    return "".join(c if c.isprintable() or c == "\n" else escaped(c) for c in text)


def escaped(character: str) -> str:
    """As in a string of Python."""
    return character.encode("unicode_escape").decode()


def line(text: str, most: int = LINE) -> str:
    """The beginning of a text, on one line."""
    found = visible(text[: most + 1]).replace("\n", "\\n")
    return found if len(text) <= most else f"{found[:most]}…"
