"""When a choice ends: stop strings against the brute-force definition, budgets, reasons."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.stopping import ContextLengthExceeded, StopStrings, finish, token_budget

TEXT = st.text("ab.", max_size=12)
STOPS = st.lists(st.text("ab.", min_size=1, max_size=4), max_size=4)


def brute_force(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The definition: the first position at which some stop string is complete."""
    for end in range(len(text) + 1):
        for stop in stops:
            if text[:end].endswith(stop):
                return text[: end - len(stop)], stop
    return text, None


@given(st.lists(TEXT, max_size=6), STOPS)
def test_stop_strings_across_any_borders(parts: list[str], stops: list[str]) -> None:
    matcher = StopStrings(stops)
    out, sent = "", ""
    expected, expected_stop = brute_force("".join(parts), stops)
    for part in parts:
        released, stop = matcher.push(part)
        out, sent = out + released, sent + part
        if stop is not None:
            assert (out, stop) == (expected, expected_stop)
            return
        # What is withheld could still become a match, and nothing else is withheld.
        held = sent[len(out) :]
        assert sent == out + held
        assert held == "" or any(s.startswith(held) and s != held for s in stops)
        assert all(
            len(held) >= n
            for s in stops
            for n in range(1, len(s))
            if len(sent) >= n and sent.endswith(s[:n])
        )
    assert expected_stop is None
    assert out + matcher.flush() == expected


def test_the_match_that_completes_first_wins_and_then_the_order_of_the_list() -> None:
    assert StopStrings(["abc", "b"]).push("xabc") == ("xa", "b")
    assert StopStrings(["b", "ab"]).push("xab") == ("xa", "b")
    assert StopStrings(["ab", "b"]).push("xab") == ("x", "ab")


def test_reasons() -> None:
    assert finish(7, 1, 5, [2], [7]) == ("stop", 7)
    assert finish(2, 1, 5, [2], [2]) == ("stop", None)
    assert finish(9, 5, 5, [2], [7]) == ("length", None)
    assert finish(7, 5, 5, [2], [7]) == ("stop", 7)
    assert finish(9, 4, 5, [2], [7]) == (None, None)


@given(
    st.one_of(st.none(), st.integers(1, 10**6)), st.integers(1, 200_000), st.integers(1, 200_000)
)
def test_budget(max_tokens: int | None, context: int, prompt: int) -> None:
    if prompt >= context:
        with pytest.raises(ContextLengthExceeded, match=f"{prompt} tokens.* {context}"):
            token_budget(max_tokens, context, prompt)
    else:
        asked = 16384 if max_tokens is None else max_tokens
        assert token_budget(max_tokens, context, prompt) == min(asked, context - prompt)
