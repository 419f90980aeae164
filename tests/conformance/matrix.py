"""Runs mutants against all checks of their parameter: python -m tests.conformance.matrix [GLOB …]

Writes docs/conformance/mutants.json, from which `tests.conformance.generate_docs` makes the page.
Takes about ten minutes on two cores; the test suite runs only the checks that each mutant names.
"""

import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from rich.progress import track

from conformance.harness.registry import Check, all_checks
from conformance.harness.runner import run
from conformance.verdicts import Verdict
from reference.bundle import Bundle, load_bundle
from tests.conformance import tiny_models
from tests.conformance.conftest import target
from tests.conformance.mutants import Mutant, all_mutants

FILE = Path(__file__).parents[2] / "docs/conformance/mutants.json"
KILLING = (Verdict.FAIL, Verdict.NON_STRICT)


@cache
def load_model(vision: bool) -> Bundle:
    write = tiny_models.write_vision if vision else tiny_models.write
    return load_bundle(write(Path(tempfile.mkdtemp())))


def killing_checks(identity: str) -> list[str]:
    """Return the ids of the checks that fail a mutant."""
    [mutant] = [m for m in all_mutants() if m.id == identity]
    model = load_model(tiny_models.needs_vision(identity))
    with target(mutant.make(model), model, mutant.keys) as server:
        results = run(server, [c for c in all_checks() if is_relevant(mutant, c)])
    return [r.id for r in results if r.verdict in KILLING]


def is_relevant(mutant: Mutant, check: Check) -> bool:
    return check.parameter == mutant.id.partition("/")[0] or check.id in mutant.killed_by


def main(globs: list[str]) -> None:
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    ids = [m.id for m in all_mutants()]
    selected = [i for i in ids if not globs or any(fnmatchcase(i, g) for g in globs)]
    with ProcessPoolExecutor(2) as pool:
        kills = track(pool.map(killing_checks, selected), total=len(selected))
        merged = known | dict(zip(selected, kills, strict=True))
    merged = {i: merged[i] for i in ids if i in merged}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(merged, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
