"""The reference answers every case, also as a program."""

import io

import pytest

from conformance.vectors.__main__ import main, respond
from conformance.vectors.comparing import compare
from conformance.vectors.generation import FAMILIES
from conformance.vectors.lines import Case, line
from conformance.vectors.program import question
from conformance.vectors.reference import ANSWERS
from tests.conformance.vectors.conftest import Families

# Statuses need an endpoint: test_requests.
NAMES = [family.name for family in FAMILIES if family.name != "request"]


@pytest.mark.parametrize("name", NAMES)
def test_reference_answers(families: Families, name: str) -> None:
    header, cases = families[name]
    wrong = {}
    for case in cases:
        answer = respond({"id": case.id, "family": case.family, "input": case.input})
        if outcome := compare(case, header["compare"], answer, alpha=1e-6):
            wrong[case.id] = str(outcome)
    assert not wrong


def test_reference_has_every_family() -> None:
    assert sorted(ANSWERS) == sorted(NAMES)


def test_program_writes_a_line_for_each_case(families: Families) -> None:
    cases: list[Case] = [families[name][1][0] for name in ("top_k", "draw", "request")]
    output = io.StringIO()
    main(map(question, cases), output)
    answers = output.getvalue().splitlines()
    assert len(answers) == 3 and answers[2] + "\n" == line({"id": cases[2].id, "unsupported": True})
