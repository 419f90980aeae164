"""Each broken server is noticed by the checks that should notice it, and each check notices one."""

import itertools
from collections.abc import Callable

import pytest

from conformance.harness.registry import all_checks
from conformance.harness.runner import run_one
from conformance.verdicts import Verdict
from reference.bundle import Bundle
from tests.conformance.conftest import target
from tests.conformance.mutants import Mutant, all_mutants

CHECKS = {check.id: check for check in all_checks()}
MUTANTS = all_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.id)
def test_a_broken_server_is_noticed(model_of: Callable[[str], Bundle], mutant: Mutant) -> None:
    model = model_of(mutant.id)
    with target(mutant.make(model), model, mutant.keys) as broken:
        for name in mutant.killed_by:
            result = run_one(broken, CHECKS[name])
            assert result.verdict in (Verdict.FAIL, Verdict.NON_STRICT), result


def test_every_check_notices_a_broken_server() -> None:
    noticing = set(itertools.chain.from_iterable(m.killed_by for m in MUTANTS))
    assert CHECKS.keys() - noticing == set()
    assert all(m.killed_by for m in MUTANTS)
