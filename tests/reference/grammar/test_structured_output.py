"""A short run of the structured-output fuzzer, and a run that must fail."""

from random import Random

from reference.grammar.response_format import compile_format
from reference.grammar.schema.keywords import KEYWORDS
from tests.support.structured_output_fuzz import (
    Case,
    Output,
    by_reference,
    run,
    violation,
)


def test_constrained_outputs_are_valid() -> None:
    with by_reference() as generate:
        counts = run(generate, 25, seed=3)
    assert counts.invalid == []
    assert counts.ended + counts.cut_off + counts.refused == 25
    assert counts.ended > 15
    assert len(counts.keywords.keys() & KEYWORDS.keys()) > 15


def random_bytes(cases: list[Case]) -> list[Output]:
    """Unconstrained outputs."""
    return [Output(Random(c.number).randbytes(9), ended=True) for c in cases]


def test_unconstrained_outputs_are_reported_as_invalid() -> None:
    reported: list[str] = []
    counts = run(random_bytes, 10, seed=3, report=reported.append)
    assert len(counts.invalid) > 5
    assert reported == counts.invalid


def test_violation() -> None:
    format = {"type": "regex", "regex": "(ab)+"}
    language = compile_format(format)
    assert language is not None
    for text, ended, valid in [(b"ab", True, True), (b"aba", True, False), (b"aba", False, True)]:
        assert (violation(format, language, Output(text, ended)) is None) == valid
    not_a_prefix = violation(format, language, Output(b"ba", ended=False))
    assert not_a_prefix == "not a prefix of a valid text"
    assert violation(format, language, Output(b"\xff", ended=True)) == "not UTF-8"
