"""From tokens to text: whatever arrives, the joined deltas are the definition applied to the
whole.
"""

from hypothesis import given
from hypothesis import strategies as st

from reference.output_text import StreamedChoice, TextDelta, TokenDisplay, echo, start_choice
from reference.params import CompletionParams
from reference.request import TokenGenerated, TokenLogprobs
from reference.tokenizer.detokenizer import decode
from tests.reference.test_stopping import brute_force


class Toy:
    """Ids 0–255 are bytes; 256 is the end; 257 and 258 are both spelled "ab"; a leading space like
    SentencePiece.
    """

    vocab_size = 259
    special_ids = frozenset({256})
    bos_id = None
    leading_space = True

    def encode(self, text: str) -> list[int]:
        return list((" " + text).encode())

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b"</s>" if token == 256 else b"ab"


LETTERS = st.sampled_from([*b"ab. ", *"é€".encode(), 0xFF, 257, 258])
STOPS = st.lists(st.sampled_from(["a", "ab", "b.", "aba", "é", "\ufffd", ". a"]), max_size=3)


def events(ids: list[int], reason: str) -> list[TokenGenerated]:
    """The ids as an engine would give them; with "stop", the end comes after them."""
    ids = [*ids, 256] if reason == "stop" else ids
    reports = [TokenLogprobs(i, -0.5, ((i, -0.5),)) for i in ids]
    last = len(ids) - 1
    return [
        TokenGenerated(choice=0, token=t, logprobs=r, finish_reason=reason if i == last else None)
        for i, (t, r) in enumerate(zip(ids, reports, strict=True))
    ]


def run(choice: StreamedChoice, tokens: list[TokenGenerated]) -> list[TextDelta]:
    deltas = []
    for token in tokens:
        deltas.append(choice.push(token))
        if choice.finished:
            break
    return deltas


@given(st.lists(LETTERS, min_size=1, max_size=15), STOPS, st.sampled_from(["stop", "length"]))
def test_the_text_is_the_whole_cut_at_the_first_stop(ids, stops, reason) -> None:
    toy = Toy()
    deltas = run(
        start_choice(toy, CompletionParams(stop=tuple(stops), logprobs=0), [1], "x"),
        events(ids, reason),
    )
    whole = b"".join(map(toy.piece, ids)).decode(errors="replace")
    text, stop = brute_force(whole, stops)
    assert "".join(d.text for d in deltas) == text
    assert all(d.finish_reason is None for d in deltas[:-1])
    last = deltas[-1]
    expected = ("stop", stop) if stop else (reason, None)
    assert (last.finish_reason, last.stop_reason) == expected


@given(st.lists(LETTERS, min_size=1, max_size=15), STOPS, st.booleans())
def test_every_token_has_one_row_and_offsets_point_into_the_text(ids, stops, echoed) -> None:
    prompt = "prompt"
    params = CompletionParams(stop=tuple(stops), logprobs=0, echo=echoed)
    choice = start_choice(Toy(), params, [1], prompt)
    deltas = run(choice, events(ids, "length"))
    rows = [e for d in deltas for e in d.entries]
    assert len(rows) == choice.tokens
    offsets = [e.offset - (len(prompt) if echoed else 0) for e in rows]
    assert offsets == sorted(offsets) and 0 <= offsets[0]
    # A row comes with the delta that has its first character; at the end, all that is left.
    sent = 0
    for delta in deltas:
        for entry in delta.entries:
            offset = entry.offset - (len(prompt) if echoed else 0)
            within = sent <= offset < sent + len(delta.text)
            assert within or (delta.finish_reason and offset <= sent + len(delta.text))
        sent += len(delta.text)


def test_an_output_that_begins_the_text_loses_the_space_that_encode_adds() -> None:
    tokens = events(list(b" a b"), "length")
    begins = run(start_choice(Toy(), CompletionParams(), [], ""), tokens)
    goes_on = run(start_choice(Toy(), CompletionParams(), [1], "x"), tokens)
    assert "".join(d.text for d in begins) == "a b"
    assert "".join(d.text for d in goes_on) == " a b"


def test_an_id_that_the_tokenizer_does_not_know_has_no_text() -> None:
    """The embedding may have more rows; the space that the tokenizer adds stands at the start."""
    assert decode(Toy(), [*b" a", 300, *b" b"]) == "a b"
    assert decode(Toy(), [300, *b" a"]) == " a"


def test_names_never_overwrite_each_other() -> None:
    names = TokenDisplay(Toy(), as_ids=False)
    likelier = TokenLogprobs(258, -2.0, ((257, -1.0), (258, -2.0), (97, float("-inf"))))
    assert names.top(likelier) == {"token_id:257": -1.0, "ab": -2.0, "a": -9999.0}
    bystander = TokenLogprobs(97, -0.5, ((97, -0.5), (257, -1.0), (258, -2.0)))
    assert names.top(bystander) == {"a": -0.5, "ab": -1.0, "token_id:258": -2.0}
    assert names.name(0xE2) == "bytes:\\xe2" and names.name(256) == "</s>"
    assert TokenDisplay(Toy(), as_ids=True).top(bystander) == {
        "token_id:97": -0.5,
        "token_id:257": -1.0,
        "token_id:258": -2.0,
    }
    assert names.name(300) == "token_id:300"


def test_echo_gives_the_prompt_and_a_row_for_each_of_its_tokens() -> None:
    toy = Toy()
    prompt = "aé"
    ids = toy.encode(prompt)
    reports = [None, *(TokenLogprobs(i, -1.0, ((i, -1.0),)) for i in ids[1:])]
    delta = echo(toy, CompletionParams(), ids, prompt, reports)
    assert delta.text == prompt
    assert [e.offset for e in delta.entries] == [0, 0, 1, 1]
    assert [e.logprob for e in delta.entries] == [None, -1.0, -1.0, -1.0]
    assert echo(toy, CompletionParams(), ids, prompt, None).entries == ()
