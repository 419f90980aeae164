"""Our own servers: nothing is found."""

from collections.abc import Iterator

import pytest

from conformance.harness.capabilities import EYES
from conformance.harness.registry import Check, all_checks
from conformance.harness.runner import run_one
from conformance.http.client import Target
from conformance.verdicts import Verdict
from reference.bundle import Bundle
from tests.conformance import tiny_models
from tests.conformance.conftest import target
from tests.conformance.mutations import whole

KEY = "a secret"
SIGHT = [check for check in all_checks() if tiny_models.sees(check.id)]


@pytest.fixture(scope="module")
def ours(tiny_model: Bundle) -> Iterator[Target]:
    with target(whole(tiny_model, keys=[KEY]), tiny_model, (KEY,)) as ours:
        yield ours


@pytest.fixture(scope="module")
def seeing(seeing_model: Bundle) -> Iterator[Target]:
    with target(whole(seeing_model, keys=[KEY]), seeing_model, (KEY,)) as seeing:
        yield seeing


@pytest.mark.parametrize("check", all_checks(), ids=lambda c: c.id)
def test_the_reference_passes(ours: Target, seeing: Target, check: Check) -> None:
    result = run_one(seeing if tiny_models.sees(check.id) else ours, check)
    assert result.verdict is Verdict.PASS, result


@pytest.mark.parametrize("check", SIGHT, ids=lambda c: c.id)
def test_nobody_is_blamed_for_reading_text_only(ours: Target, check: Check) -> None:
    result = run_one(ours, check)
    assert result.verdict is (Verdict.INCONCLUSIVE if EYES in check.needs else Verdict.PASS), result
