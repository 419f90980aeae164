"""From tokens to text: the joined deltas equal the definition applied to the whole output."""

from hypothesis import given
from hypothesis import strategies as st

from reference.output_text import StreamedChoice, TextDelta, TokenDisplay, echo, start_choice
from reference.params import CompletionParams
from reference.request import TokenGenerated, TokenLogprobs
from reference.tokenizer.detokenizer import decode
from tests.support.byte_tokenizer import ByteTokenizer
from tests.support.stop_strings import cut_at_first_stop

TOKENS = st.sampled_from([*b"ab. ", *"é€".encode(), 0xFF, 257, 258])
STOPS = st.lists(st.sampled_from(["a", "ab", "b.", "aba", "é", "\ufffd", ". a"]), max_size=3)


def events(ids: list[int], reason: str) -> list[TokenGenerated]:
    """Return the events of an engine that generates these ids, then EOS if the reason is "stop"."""
    ids = [*ids, 256] if reason == "stop" else ids
    logprobs = [TokenLogprobs(i, -0.5, ((i, -0.5),)) for i in ids]
    last = len(ids) - 1
    return [
        TokenGenerated(choice=0, token=t, logprobs=p, finish_reason=reason if i == last else None)
        for i, (t, p) in enumerate(zip(ids, logprobs, strict=True))
    ]


def run(choice: StreamedChoice, tokens: list[TokenGenerated]) -> list[TextDelta]:
    deltas = []
    for token in tokens:
        deltas.append(choice.push(token))
        if choice.finished:
            break
    return deltas


@given(st.lists(TOKENS, min_size=1, max_size=15), STOPS, st.sampled_from(["stop", "length"]))
def test_text_ends_at_first_stop(ids, stops, reason) -> None:
    tokenizer = ByteTokenizer()
    deltas = run(
        start_choice(tokenizer, CompletionParams(stop=tuple(stops), logprobs=0), [1], "x"),
        events(ids, reason),
    )
    whole = b"".join([tokenizer.token_bytes(i) for i in ids]).decode(errors="replace")
    text, stop = cut_at_first_stop(whole, stops)
    assert "".join(d.text for d in deltas) == text
    assert all(d.finish_reason is None for d in deltas[:-1])
    last = deltas[-1]
    expected = ("stop", stop) if stop else (reason, None)
    assert (last.finish_reason, last.stop_reason) == expected


@given(st.lists(TOKENS, min_size=1, max_size=15), STOPS, st.booleans())
def test_entries_and_their_offsets(ids, stops, echoed) -> None:
    prompt = "prompt"
    params = CompletionParams(stop=tuple(stops), logprobs=0, echo=echoed)
    choice = start_choice(ByteTokenizer(), params, [1], prompt)
    deltas = run(choice, events(ids, "length"))
    entries = [e for d in deltas for e in d.entries]
    assert len(entries) == choice.tokens
    offsets = [e.offset - (len(prompt) if echoed else 0) for e in entries]
    assert offsets == sorted(offsets) and 0 <= offsets[0]
    # An entry is in the delta that has its first character; the last delta has all others.
    sent = 0
    for delta in deltas:
        for entry in delta.entries:
            offset = entry.offset - (len(prompt) if echoed else 0)
            within = sent <= offset < sent + len(delta.text)
            assert within or (delta.finish_reason and offset <= sent + len(delta.text))
        sent += len(delta.text)


def test_output_at_text_start_has_no_leading_space() -> None:
    tokens = events(list(b" a b"), "length")
    at_start = run(start_choice(ByteTokenizer(), CompletionParams(), [], ""), tokens)
    continued = run(start_choice(ByteTokenizer(), CompletionParams(), [1], "x"), tokens)
    assert "".join(d.text for d in at_start) == "a b"
    assert "".join(d.text for d in continued) == " a b"


def test_id_unknown_to_the_tokenizer_has_no_text() -> None:
    """The embedding may have ids that the tokenizer lacks. They count as the first token."""
    assert decode(ByteTokenizer(), [*b" a", 300, *b" b"]) == "a b"
    assert decode(ByteTokenizer(), [300, *b" a"]) == " a"


def test_token_strings_are_unique() -> None:
    display = TokenDisplay(ByteTokenizer(), as_ids=False)
    sampled_258 = TokenLogprobs(258, -2.0, ((257, -1.0), (258, -2.0), (97, float("-inf"))))
    assert display.top(sampled_258) == {"token_id:257": -1.0, "ab": -2.0, "a": -9999.0}
    sampled_97 = TokenLogprobs(97, -0.5, ((97, -0.5), (257, -1.0), (258, -2.0)))
    assert display.top(sampled_97) == {"a": -0.5, "ab": -1.0, "token_id:258": -2.0}
    assert display.name(0xE2) == "bytes:\\xe2" and display.name(256) == "</s>"
    assert TokenDisplay(ByteTokenizer(), as_ids=True).top(sampled_97) == {
        "token_id:97": -0.5,
        "token_id:257": -1.0,
        "token_id:258": -2.0,
    }
    assert display.name(300) == "token_id:300"


def test_echo_has_the_prompt_and_an_entry_per_token() -> None:
    tokenizer = ByteTokenizer()
    prompt = "aé"
    ids = tokenizer.encode(prompt)
    logprobs = [None, *(TokenLogprobs(i, -1.0, ((i, -1.0),)) for i in ids[1:])]
    delta = echo(tokenizer, CompletionParams(), ids, prompt, logprobs)
    assert delta.text == prompt
    assert [e.offset for e in delta.entries] == [0, 0, 1, 1]
    assert [e.logprob for e in delta.entries] == [None, -1.0, -1.0, -1.0]
    assert echo(tokenizer, CompletionParams(), ids, prompt, None).entries == ()
