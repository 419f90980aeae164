"""Stop strings against the brute-force definition, finish reasons, token budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.params import CompletionParams
from reference.stopping import (
    ContextLengthExceeded,
    StopStrings,
    finish,
    resolve_stop_strings,
    token_budget,
)
from reference.tokenizer.vocabulary import Vocabulary
from tests.support.stop_strings import cut_at_first_stop

TEXT = st.text("ab.", max_size=12)
STOPS = st.lists(st.text("ab.", min_size=1, max_size=4), max_size=4)


@given(st.lists(TEXT, max_size=6), STOPS)
def test_stop_strings_across_token_boundaries(parts: list[str], stops: list[str]) -> None:
    matcher = StopStrings(stops)
    out, sent = "", ""
    expected, expected_stop = cut_at_first_stop("".join(parts), stops)
    for part in parts:
        emitted, stop = matcher.push(part)
        out, sent = out + emitted, sent + part
        if stop is not None:
            assert (out, stop) == (expected, expected_stop)
            return
        # Withheld text could still become a match, and no other text is withheld.
        withheld = sent[len(out) :]
        assert sent == out + withheld
        assert withheld == "" or any(s.startswith(withheld) and s != withheld for s in stops)
        assert all(
            len(withheld) >= n
            for s in stops
            for n in range(1, len(s))
            if len(sent) >= n and sent.endswith(s[:n])
        )
    assert expected_stop is None
    assert out + matcher.flush() == expected


def test_first_complete_match_wins_then_list_order() -> None:
    assert StopStrings(["abc", "b"]).push("xabc") == ("xa", "b")
    assert StopStrings(["b", "ab"]).push("xab") == ("xa", "b")
    assert StopStrings(["ab", "b"]).push("xab") == ("x", "ab")


def test_finish_reasons() -> None:
    assert finish(7, 1, 5, [2], [7]) == ("stop", 7)
    assert finish(2, 1, 5, [2], [2]) == ("stop", None)
    assert finish(9, 5, 5, [2], [7]) == ("length", None)
    assert finish(7, 5, 5, [2], [7]) == ("stop", 7)
    assert finish(9, 4, 5, [2], [7]) == (None, None)


@given(
    st.one_of(st.none(), st.integers(1, 10**6)), st.integers(1, 200_000), st.integers(1, 200_000)
)
def test_token_budget(max_tokens: int | None, context: int, prompt: int) -> None:
    if prompt >= context:
        with pytest.raises(ContextLengthExceeded, match=f"{prompt} tokens.* {context}"):
            token_budget(max_tokens, context, prompt)
    else:
        limit = 16384 if max_tokens is None else max_tokens
        assert token_budget(max_tokens, context, prompt) == min(limit, context - prompt)


VOCABULARY = Vocabulary(
    (b"<s>", b"</s>", b"<end>", b"a", b"<end>", b"<tool>", b"\xff", b""),
    disallowed_token_ids=frozenset({0, 1, 2, 4, 6, 7, 9}),
)


@pytest.mark.parametrize(
    ("stop", "ids", "resolved"),
    [
        (["<end>"], (), (2, 4)),
        (["</s>", "x", "<s>"], (), (1, 0)),
        (["<end>"], (4, 3), (4, 3, 2)),
        (["<end> ", "x<end>", "<END>", "end"], (3,), (3,)),
        (["a", "<tool>"], (), ()),
        ([], (2, 2), (2,)),
    ],
    ids=str,
)
def test_stop_strings_that_name_special_tokens(
    stop: list[str], ids: tuple[int, ...], resolved: tuple[int, ...]
) -> None:
    params = CompletionParams(stop=tuple(stop), stop_token_ids=ids, seed=3)
    expected = CompletionParams(stop=tuple(stop), stop_token_ids=resolved, seed=3)
    assert resolve_stop_strings(params, VOCABULARY) == expected
