"""Typed access to one field of a config file: the value, or an error that names the field."""

from typing import Any


class ConfigError(ValueError):
    """An unsupported model, or a config that contradicts itself. The message names the field."""


def as_token_ids(name: str, value: Any) -> tuple[int, ...]:
    """Read one id, a list of ids, or null for none."""
    ids = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(as_token_id(name, item) for item in ids)


def as_token_id(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ConfigError(f"{name}: must be a token id, got {value!r}")


def as_size(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise ConfigError(f"{name}: must be a positive integer, got {value!r}")


def as_positive(name: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 < value < 2**1000:  # finite; a longer integer overflows float()
            return float(value)
    raise ConfigError(f"{name}: must be a positive, finite number, got {value!r}")


def as_flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{name}: must be true or false, got {value!r}")
