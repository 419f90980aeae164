"""JSON lines. A float32 is written as the shortest decimal of its exact value, −∞ as null."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

VERSION = "1.0"  # of the vectors: the first number changes with an expectation
LICENSE = "CC0-1.0"
DIGITS = 9  # of a number that is computed in float64


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line. id: family/name. input: what the program gets. expect: the specified result.

    flags: what is unusual, explained in the header. margin: the distance from another result.
    dialects: the results of known deviations, by name. comment: for people.
    """

    id: str
    input: Mapping[str, Any]
    expect: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    margin: float | None = None
    dialects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    comment: str = ""

    @property
    def family(self) -> str:
        return self.id.partition("/")[0]

    def as_json(self) -> dict[str, Any]:
        """Return the object of the line, without empty optional fields."""
        optional = {
            "margin": self.margin,
            "dialects": dict(self.dialects) or None,
            "comment": self.comment or None,
        }
        always = {"id": self.id, "flags": list(self.flags), "input": dict(self.input)}
        given = {name: value for name, value in optional.items() if value is not None}
        return always | {"expect": dict(self.expect)} | given

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Case":
        return cls(**{**value, "flags": tuple(value["flags"])})


def line(value: Any) -> str:
    """Write a value as one line of ASCII. Raises ValueError for NaN and infinities."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n"


def floats(values: Iterable[Any]) -> list[float | None]:
    """Return float32 or float64 numbers for JSON. Raises ValueError for NaN and +∞."""
    result = [None if value == -np.inf else float(value) for value in values]
    if not all(value is None or math.isfinite(value) for value in result):
        raise ValueError(f"numbers: must be finite or −∞, got {result}")
    return result


def rounded(values: Iterable[Any], digits: int = DIGITS) -> list[float]:
    """Return numbers that are computed in float64 with the digits that every machine agrees on."""
    return [float(f"{value:.{digits}g}") for value in values]


def array(values: Sequence[float | None]) -> np.ndarray:
    """Return float32 numbers; null is −∞."""
    return np.array([-np.inf if value is None else value for value in values], np.float32)
