"""Every mutant fails the checks that it names, and every check fails a mutant."""

import itertools
from collections.abc import Callable

import pytest

from conformance.harness.registry import all_checks
from conformance.harness.runner import run_one
from conformance.verdicts import Verdict
from reference.bundle import Bundle
from tests.conformance.conftest import Serve, target_at
from tests.conformance.mutants import Mutant, all_mutants

CHECKS = {check.id: check for check in all_checks()}
MUTANTS = all_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.id)
def test_mutant_is_killed(
    model_of: Callable[[str], Bundle], serve_app: Serve, mutant: Mutant
) -> None:
    model = model_of(mutant.id)
    with target_at(serve_app(mutant.make(model)), model, mutant.keys) as server:
        for name in mutant.killed_by:
            result = run_one(server, CHECKS[name])
            assert result.verdict in (Verdict.FAIL, Verdict.NON_STRICT), result


def test_checks_each_kill_a_mutant() -> None:
    effective = set(itertools.chain.from_iterable(m.killed_by for m in MUTANTS))
    assert CHECKS.keys() - effective == set()
    assert all(m.killed_by for m in MUTANTS)
