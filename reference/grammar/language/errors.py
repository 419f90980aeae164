"""What can be wrong with a response_format."""


class UnsupportedFormat(ValueError):
    """It is understood and cannot be honoured."""


class SchemaError(ValueError):
    """A schema that means nothing, or nothing that can be honoured. place: a JSON pointer."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place or 'the schema'}: {message}")


class RegexError(ValueError):
    """A pattern that means nothing, or nothing that can be honoured, or too much."""


class TooComplex(UnsupportedFormat):
    """Telling what may follow takes more than the bounds allow."""
