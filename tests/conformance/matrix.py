"""Every mutant against every check of its parameter: python -m tests.conformance.matrix [GLOB …]

Writes docs/conformance/mutants.json, from which `tests.conformance.generate_docs` makes the page.
Takes about ten minutes on two cores: the suite itself runs only the checks that each mutant names.
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
NOTICED = (Verdict.FAIL, Verdict.NON_STRICT)


@cache
def model(seeing: bool) -> Bundle:
    write = tiny_models.write_seeing if seeing else tiny_models.write
    return load_bundle(write(Path(tempfile.mkdtemp())))


def noticed(identity: str) -> list[str]:
    """The ids of the checks that notice a mutant."""
    [mutant] = [m for m in all_mutants() if m.id == identity]
    about = model(tiny_models.sees(identity))
    with target(mutant.make(about), about, mutant.keys) as broken:
        results = run(broken, [c for c in all_checks() if concerns(mutant, c)])
    return [r.id for r in results if r.verdict in NOTICED]


def concerns(mutant: Mutant, check: Check) -> bool:
    return check.parameter == mutant.id.partition("/")[0] or check.id in mutant.killed_by


def main(globs: list[str]) -> None:
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    wanted = [m.id for m in all_mutants()]
    chosen = [i for i in wanted if not globs or any(fnmatchcase(i, g) for g in globs)]
    with ProcessPoolExecutor(2) as pool:
        found = dict(zip(chosen, track(pool.map(noticed, chosen), total=len(chosen)), strict=True))
    merged = {i: (known | found)[i] for i in wanted if i in known | found}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(merged, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
