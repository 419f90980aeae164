"""The test vectors of a parameter, and what other engines' samplers answer, for its page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conformance.vectors.folder import family_files, read_family
from tests.support.coverage import SPEC

ENGINES = "docs/vectors-engines.md"
HEAD = """## Test vectors

Cases with expected results, for testing a sampler in any language
([the format](../docs/vectors.md)).
An engine's column has the cases of the family that agree, of those that it supports
([all results](../docs/vectors-engines.md))."""
# Of parameters that no input of a case names as the request does.
FAMILIES = {"model": ("forward",), "prompt": ("tokenization",), "n": ("threefry", "draw")}


@dataclass(frozen=True)
class Family:
    """One file of cases. function: of the reference. names: the parameters in each case's input."""

    name: str
    function: str
    names: tuple[frozenset[str], ...]

    def count(self, parameter: str) -> int:
        """Return the number of cases about a parameter."""
        if parameter in FAMILIES:
            return len(self.names) if self.name in FAMILIES[parameter] else 0
        if self.function == SPEC[parameter]:
            return len(self.names)
        return sum(parameter in names for names in self.names)


@dataclass(frozen=True)
class EngineResults:
    """The page of other engines' results. rows: by family, a cell for each engine. differences: by
    engine, (family, text).
    """

    engines: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]
    differences: dict[str, tuple[tuple[str, str], ...]]


def read_families(root: Path) -> list[Family]:
    """Return the families of the vectors, and what the input of each case names."""
    families = map(read_family, family_files(root / "vectors"))
    return [
        Family(
            header["family"],
            header["function"],
            tuple(frozenset(case.input.get("body", case.input)) for case in cases),
        )
        for header, cases in families
    ]


def read_results(text: str) -> EngineResults:
    """Parse docs/vectors-engines.md."""
    table = [cells(line) for line in text.splitlines() if line.startswith("| ")]
    (_, *engines), *rows = table
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return EngineResults(
        tuple(engines),
        {family.strip("`"): tuple(row) for family, *row in rows},
        {
            engine: tuple(re.findall(r"^- `(\w+)`: (.+)$", body, flags=re.MULTILINE))
            for engine, body in zip(parts[::2], parts[1::2], strict=True)
        },
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def vectors_section(parameter: str, families: list[Family], results: EngineResults) -> str:
    """Return the section of a parameter's page; empty if no case is about it."""
    counts = {f.name: f.count(parameter) for f in families if f.count(parameter)}
    if not counts:
        return ""
    has_results = any(name in results.rows for name in counts)
    engines = results.engines if has_results else ()
    lines = [HEAD, "", row(["family", "cases", *engines]), "|---" * (2 + len(engines)) + "|"]
    for name, count in counts.items():
        own = results.rows.get(name, ("",) * len(engines)) if has_results else ()
        lines.append(row([f"[`{name}`](../vectors/{name}.jsonl)", str(count), *own]))
    return "\n".join([*lines, "", *differences(parameter, results)]).rstrip()


def row(values: list[str]) -> str:
    return f"| {' | '.join(values)} |"


def differences(parameter: str, results: EngineResults) -> Iterator[str]:
    """Yield what other engines answer to the cases of the parameter's own family."""
    for engine, items in results.differences.items():
        for family, text in items:
            if family == parameter:
                yield f"- {engine}: {text}"
