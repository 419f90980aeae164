"""A short run of the answers by chance, and of one that must fail."""

from random import Random

from reference.grammar.response_format import compile_format
from reference.grammar.schema.keywords import KEYWORDS
from tests.support.structured_output_fuzz import (
    Answer,
    Question,
    by_reference,
    run,
    what_is_wrong,
)


def test_every_answer_is_what_was_asked_for() -> None:
    with by_reference() as answers:
        counts = run(answers, 25, seed=3)
    assert counts.invalid == []
    assert counts.ended + counts.cut_off + counts.refused == 25
    assert counts.ended > 15
    assert len(counts.keywords.keys() & KEYWORDS.keys()) > 15


def anything(questions: list[Question]) -> list[Answer]:
    """Answers of a model that nothing is forbidden to."""
    return [Answer(Random(q.number).randbytes(9), ended=True) for q in questions]


def test_answers_that_nothing_forbids_are_wrong() -> None:
    reported: list[str] = []
    counts = run(anything, 10, seed=3, report=reported.append)
    assert len(counts.invalid) > 5
    assert reported == counts.invalid


def test_what_is_wrong() -> None:
    asked = {"type": "regex", "regex": "(ab)+"}
    language = compile_format(asked)
    assert language is not None
    for text, ended, fine in [(b"ab", True, True), (b"aba", True, False), (b"aba", False, True)]:
        assert (what_is_wrong(asked, language, Answer(text, ended)) is None) == fine
    assert what_is_wrong(asked, language, Answer(b"ba", ended=False)) == "no beginning of a text"
    assert what_is_wrong(asked, language, Answer(b"\xff", ended=True)) == "no UTF-8"
