"""Our own server passes every check."""

from collections.abc import Iterator

import pytest

from conformance.harness.capabilities import VISION
from conformance.harness.registry import Check, all_checks
from conformance.harness.runner import run_one
from conformance.http.client import Target
from conformance.verdicts import Verdict
from reference.bundle import Bundle
from tests.conformance import tiny_models
from tests.conformance.conftest import target
from tests.conformance.mutations.engine import conforming_app

KEY = "a secret"
VISION_CHECKS = [check for check in all_checks() if tiny_models.needs_vision(check.id)]


@pytest.fixture(scope="module")
def text_target(tiny_model: Bundle) -> Iterator[Target]:
    with target(conforming_app(tiny_model, keys=[KEY]), tiny_model, (KEY,)) as server:
        yield server


@pytest.fixture(scope="module")
def vision_target(vision_model: Bundle) -> Iterator[Target]:
    with target(conforming_app(vision_model, keys=[KEY]), vision_model, (KEY,)) as server:
        yield server


@pytest.mark.parametrize("check", all_checks(), ids=lambda c: c.id)
def test_reference_passes(text_target: Target, vision_target: Target, check: Check) -> None:
    server = vision_target if tiny_models.needs_vision(check.id) else text_target
    result = run_one(server, check)
    assert result.verdict is Verdict.PASS, result


@pytest.mark.parametrize("check", VISION_CHECKS, ids=lambda c: c.id)
def test_text_only_model_has_no_finding(text_target: Target, check: Check) -> None:
    result = run_one(text_target, check)
    expected = Verdict.NOT_APPLICABLE if VISION in check.needs else Verdict.PASS
    assert result.verdict is expected, result
