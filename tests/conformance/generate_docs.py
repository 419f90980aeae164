"""The pages of docs/conformance that are made: python -m tests.conformance.generate_docs

A test says that they are what this would write.
"""

import json
from pathlib import Path

from conformance.harness.registry import Check, all_checks
from tests.conformance.matrix import FILE
from tests.conformance.mutants import Mutant, all_mutants

DOCS = FILE.parent

CHECKS = """\
# The checks

Made by `python -m tests.conformance.generate_docs` from the code. A check's id is its file and its
function in [`conformance/checks`](../../conformance/checks). All are MUST unless they say
otherwise."""

MUTANTS = """\
# Servers that are broken on purpose

{mutants} servers, each with one fault, and {checks} checks. Every server was held against all the
checks of its parameter: ● is one that says FAIL or NON-STRICT. The last column tells how many
checks of other parameters are there for it, too. Every server is noticed, and every check notices
one; the suite fails if not. The matrix is made by `python -m tests.conformance.matrix` and then
`python -m tests.conformance.generate_docs`, from
[`tests/conformance/mutants`](../../tests/conformance/mutants)."""


def checks_page() -> str:
    """Every check, by what it is about."""
    lines = [CHECKS]
    for parameter, found in grouped(all_checks()).items():
        lines += ["", f"## {parameter}", "", "| check | | what must hold |", "|---|---|---|"]
        lines += [f"| `{c.id.partition('/')[2]}` | {kind(c)} | {cell(c.clause)} |" for c in found]
    return "\n".join(lines) + "\n"


def kind(check: Check) -> str:
    level = "" if check.level == "MUST" else f"{check.level}, "
    return f"{level}{check.depth}, {check.evidence}"


def grouped(checks: tuple[Check, ...]) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    for check in checks:
        found.setdefault(check.parameter, []).append(check)
    return found


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def mutants_page() -> str:
    """A matrix for each parameter: its broken servers, and which of its checks notice them."""
    noticed: dict[str, list[str]] = json.loads(FILE.read_text())
    mutants = all_mutants()
    lines = [MUTANTS.format(mutants=len(mutants), checks=len(all_checks()))]
    for parameter, checks in grouped(all_checks()).items():
        own = [m for m in mutants if m.id.partition("/")[0] == parameter]
        lines += ["", f"## {parameter}", "", *matrix(own, checks, noticed)]
    return "\n".join(lines) + "\n"


def matrix(mutants: list[Mutant], checks: list[Check], noticed: dict[str, list[str]]) -> list[str]:
    """Columns are numbered; the numbers are explained below the table."""
    numbers = " | ".join(str(i) for i in range(1, len(checks) + 1))
    lines = [f"| broken | {numbers} | + |", "|---" * (len(checks) + 2) + "|"]
    own = [c.id for c in checks]
    for mutant in mutants:
        found = {*noticed.get(mutant.id, ()), *mutant.killed_by}
        dots = " | ".join("●" if name in found else "" for name in own)
        more = len(found - set(own)) or ""
        name = mutant.id.partition("/")[2]
        lines.append(f"| **{name}**: {cell(mutant.fault)} | {dots} | {more} |")
    lines += ["", *(f"{i}. `{name.partition('/')[2]}`" for i, name in enumerate(own, 1))]
    return lines


PAGES = {"checks.md": checks_page, "mutants.md": mutants_page}


def main(directory: Path = DOCS) -> None:
    for name, page in PAGES.items():
        (directory / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
