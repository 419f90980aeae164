"""Our own servers: nothing is found."""

from collections.abc import Iterator

import pytest

from conformance.client import Target
from conformance.registry import Check, all_checks
from conformance.runner import run_one
from conformance.verdicts import Verdict
from reference.model import Model
from tests.conformance.breaking import whole
from tests.conformance.conftest import target

KEY = "a secret"


@pytest.fixture(scope="module")
def ours(tiny_model: Model) -> Iterator[Target]:
    with target(whole(tiny_model, keys=[KEY]), tiny_model, (KEY,)) as ours:
        yield ours


@pytest.mark.parametrize("check", all_checks(), ids=lambda c: c.id)
def test_the_reference_passes(ours: Target, check: Check) -> None:
    result = run_one(ours, check)
    assert result.verdict is Verdict.PASS, result
