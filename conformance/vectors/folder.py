"""The folder of the vectors: reads its files, and selects cases by id."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from conformance.harness.registry import matches
from conformance.vectors.lines import Case

VARIABLE = "VECTORS_DIR"  # a program under test reads the other files of the vectors there
WITHDRAWN = "withdrawn.jsonl"
Header = Mapping[str, Any]


def folder() -> Path:
    """Return the folder of this installation, or the one that the environment names."""
    installed = Path(__file__).parents[2] / "vectors"
    return Path(os.environ.get(VARIABLE) or installed)


def family_files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*.jsonl") if path.name != WITHDRAWN)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="ascii") as file:
        for text in file:
            yield json.loads(text)


def read_family(path: Path) -> tuple[Header, list[Case]]:
    """Read a file: its header, then its cases."""
    header, *cases = read_lines(path)
    return header, [Case.from_json(value) for value in cases]


def withdrawn_ids(directory: Path) -> set[str]:
    _, *entries = read_lines(directory / WITHDRAWN)
    return {entry["id"] for entry in entries}


def selected(
    directory: Path, only: Sequence[str] = (), skip: Sequence[str] = ()
) -> list[tuple[Header, list[Case]]]:
    """Return the families with the cases whose ids match a glob of `only` (any, if it is empty) and
    none of `skip`. A glob without a slash is a family. Raises ValueError for a glob that matches no
    case.
    """
    families = [read_family(path) for path in family_files(directory)]
    ids = [case.id for _, cases in families for case in cases]
    for glob in (*only, *skip):
        if not any(matches(identity, [glob]) for identity in ids):
            raise ValueError(f"{glob!r} matches no case")
    kept = [(header, list(filter_cases(cases, only, skip))) for header, cases in families]
    return [(header, cases) for header, cases in kept if cases]


def filter_cases(cases: Iterable[Case], only: Sequence[str], skip: Sequence[str]) -> Iterator[Case]:
    for case in cases:
        if (not only or matches(case.id, only)) and not matches(case.id, skip):
            yield case


def export(directory: Path) -> int:
    """Copy the folder to a directory that does not exist or is empty. Return the number of files.

    Raises FileExistsError.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f"{directory}: exists and is not an empty directory")
    shutil.copytree(folder(), directory, dirs_exist_ok=True)
    return sum(path.is_file() for path in directory.rglob("*"))
