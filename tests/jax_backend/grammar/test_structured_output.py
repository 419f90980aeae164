"""Texts by chance, written by a whole engine: what was asked for, and what the reference writes."""

from tests.support.structured_output_fuzz import by_jax, by_reference, question, run


def test_an_engine_writes_what_was_asked_for_and_what_the_reference_writes() -> None:
    asked = [one for number in range(16) if (one := question(number, 5))]
    with by_jax() as answers, by_reference() as spec:
        assert answers(asked) == spec(asked)
        assert run(answers, 32, seed=6).invalid == []
