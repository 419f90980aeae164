"""The JavaScript twin of stop strings, ends and texts answers the test vectors."""

import shutil
from pathlib import Path

import pytest

from conformance.vectors.checking import check_program
from conformance.vectors.folder import folder, selected
from conformance.verdicts import Verdict

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")

SCRIPT = Path(__file__).parent / "stopping.mjs"
FAMILIES = ("stop", "finish", "detokenization")


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors(family: str) -> None:
    cases = selected(folder(), only=[family])
    results, complaints = check_program(f"{NODE} {SCRIPT}", folder(), cases, seconds=60)
    assert not complaints and len(results) > 10
    assert [r.id for r in results if r.verdict is not Verdict.PASS] == []
