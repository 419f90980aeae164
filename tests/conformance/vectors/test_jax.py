"""The JAX backend answers every case that it computes itself."""

import pytest

from conformance.vectors.__main__ import respond
from conformance.vectors.comparing import compare
from conformance.vectors.generation import FAMILIES
from tests.conformance.vectors.conftest import Families
from tests.conformance.vectors.jax_answers import ANSWERS

# Text, and languages of formats: the reference's code, for every backend.
SHARED = {
    *("token_name", "stop", "detokenization", "text_offset", "tokenization"),
    *("grammar_text", "request"),
}


@pytest.mark.lane
@pytest.mark.parametrize("name", list(ANSWERS))
def test_jax_answers(families: Families, name: str) -> None:
    header, cases = families[name]
    wrong = {}
    for case in cases:
        question = {"id": case.id, "family": case.family, "input": case.input}
        if outcome := compare(case, header["compare"], respond(question, ANSWERS), alpha=1e-6):
            wrong[case.id] = str(outcome)
    assert not wrong


def test_other_families_are_shared() -> None:
    assert set(ANSWERS) | SHARED == {family.name for family in FAMILIES}
