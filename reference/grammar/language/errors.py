"""Errors for a `response_format` that is invalid or not supported."""


class UnsupportedFormat(ValueError):
    """A `response_format` that is invalid, or that cannot be enforced exactly."""


class SchemaError(ValueError):
    """A schema that is invalid or not supported. pointer: the location in it, a JSON pointer."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"{pointer or 'the schema'}: {message}")


class RegexError(ValueError):
    """A pattern that is invalid, not supported or too large."""


class TooComplex(UnsupportedFormat):
    """A grammar whose states exceed the size bounds."""
