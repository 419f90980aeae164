"""What a `response_format` accepts and what not, keyword by keyword: data for every backend and
every server.

Each case has texts that are accepted, and texts that are not. Those that are not are wrong; but for
those in `ours`, which are right by the specification of JSON Schema or of `re`, and left out on
purpose (a name out of order, a number written in another way).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """rejected: what is wrong, and what is in `ours`."""

    name: str
    response_format: Mapping[str, Any]
    accepted: tuple[str, ...]
    rejected: tuple[str, ...]
    ours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A response_format that cannot be honoured. message: a part of what is said about it."""

    name: str
    response_format: Mapping[str, Any]
    message: str


def schemas() -> list[Case]:
    return [case(row) for row in read("schemas")["cases"]]


def regexes() -> list[Case]:
    return [case(row) for row in read("regexes")["cases"]]


def refused() -> list[Refused]:
    rows = read("schemas")["refused"] + read("regexes")["refused"]
    return [Refused(row["name"], response_format(row), row["message"]) for row in rows]


def response_format(row: Mapping[str, Any]) -> dict[str, Any]:
    if "regex" in row:
        return {"type": "regex", "regex": row["regex"]}
    return of_schema(row["schema"])


def of_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "case", "schema": schema}}


def case(row: Mapping[str, Any]) -> Case:
    ours = tuple(row.get("ours", ()))
    rejected = (*row["rejected"], *ours)
    return Case(row["name"], response_format(row), tuple(row["accepted"]), rejected, ours)


@cache
def read(name: str) -> dict[str, list[dict[str, Any]]]:
    text = (HERE / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, list[dict[str, Any]]] = json.loads(text)
    return found
