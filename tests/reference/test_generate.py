"""One request on the embedded model: caches, choices, echo, ends. Equal means equal bit for bit."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.bundle import Bundle
from reference.completion import complete, stream
from reference.generate import generate, grammar_of, initial_history
from reference.grammar.response_format import UnsupportedFormat, compile_format
from reference.grammar.token_mask import Grammar
from reference.logprobs import token_logprobs
from reference.model import llama
from reference.params import CompletionParams
from reference.prefix_cache import BLOCK, PrefixCache
from reference.request import Event, PromptProcessed, Request, RequestFinished, TokenGenerated
from reference.stopping import ContextLengthExceeded
from reference.tokenizer.vocabulary import Vocabulary

STORY = "Once upon a time there was a girl. She had a red ball and a small dog. " * 5


def events(
    model: Bundle, prompt: str, prefixes: PrefixCache | None = None, **params
) -> list[Event]:
    request = Request.of(model.tokenizer.encode(prompt), CompletionParams(**params))
    return list(generate(model, request, prefixes))


def tokens(found: list[Event], choice: int = 0) -> list[int]:
    return [e.token for e in found if isinstance(e, TokenGenerated) and e.choice == choice]


def test_greedy_is_the_argmax_of_the_uncached_model(model: Bundle) -> None:
    ids = model.tokenizer.encode("Once upon a time")
    for token in tokens(events(model, "Once upon a time", temperature=0, max_tokens=8)):
        x = llama.hidden_states(model.checkpoint.weights, model.checkpoint.config, np.array(ids))
        logits = llama.logits(model.checkpoint.weights, x)[-1]
        assert logits[token] >= logits.max() - 1e-4
        ids.append(token)


@settings(max_examples=15)
@given(
    cut=st.integers(0, 120),
    key=st.sampled_from([None, "k"]),
    seed=st.integers(0, 9),
    n=st.integers(1, 2),
)
def test_a_cached_prefix_changes_nothing_but_its_count(
    model: Bundle, cut: int, key: str | None, seed: int, n: int
) -> None:
    params = {"seed": seed, "n": n, "max_tokens": 4, "logprobs": 2, "echo": True}
    cold = events(model, STORY, prompt_cache_key=key, **params)
    prefixes = PrefixCache()
    ids = tuple(model.tokenizer.encode(STORY))
    before = Request(
        prompt=ids[: max(1, cut)],
        params=CompletionParams(max_tokens=1, prompt_cache_key=key),
        seed=0,
    )
    list(generate(model, before, prefixes))
    warm = events(model, STORY, prefixes, prompt_cache_key=key, **params)
    assert cold[1:] == warm[1:]
    assert isinstance(cold[0], PromptProcessed) and isinstance(warm[0], PromptProcessed)
    assert (cold[0].prompt_logprobs, cold[0].cached_tokens) == (warm[0].prompt_logprobs, 0)
    assert warm[0].cached_tokens == min(cut, len(ids)) // BLOCK * BLOCK


def test_principals_and_keys_do_not_share_prefixes(model: Bundle) -> None:
    prefixes = PrefixCache()
    ids = tuple(model.tokenizer.encode(STORY))

    def cached(principal: str, key: str | None) -> int:
        params = CompletionParams(max_tokens=1, prompt_cache_key=key)
        request = Request(prompt=ids, params=params, seed=0, principal=principal)
        return next(
            e for e in generate(model, request, prefixes) if isinstance(e, PromptProcessed)
        ).cached_tokens

    whole = len(ids) // BLOCK * BLOCK
    assert [cached("a", None), cached("a", None)] == [0, whole]
    assert [cached("b", None), cached("a", "k"), cached("a", "None")] == [0, 0, 0]
    assert [cached("b", None), cached("a", "k"), cached("a", None)] == [whole] * 3


def test_the_prefix_cache_forgets_the_least_recently_used(model: Bundle) -> None:
    prefixes = PrefixCache()
    events(model, STORY, prefixes, max_tokens=1)
    one = next(iter(prefixes.blocks.values())).nbytes
    assert prefixes.size == one * len(prefixes.blocks) > one
    small = PrefixCache(capacity=one)
    events(model, STORY, small, max_tokens=1)
    assert small.size == one and len(small.blocks) == 1


@settings(max_examples=20)
@given(seed=st.integers(0, 2**64 - 1), n=st.integers(2, 4), temperature=st.sampled_from([0.7, 1.0]))
def test_a_choice_does_not_depend_on_how_many_there_are(
    model: Bundle, seed: int, n: int, temperature: float
) -> None:
    params = {"seed": seed, "max_tokens": 6, "temperature": temperature}
    most, fewer = events(model, "The", n=4, **params), events(model, "The", n=n, **params)
    for choice in range(n):
        assert tokens(fewer, choice) == tokens(most, choice)


def test_choices_differ_by_their_noise_and_greedy_ones_do_not(model: Bundle) -> None:
    warm = events(model, "The", n=4, seed=1, max_tokens=8, temperature=1.5)
    greedy = events(model, "The", n=4, seed=1, max_tokens=8, temperature=0)
    assert len({tuple(tokens(warm, c)) for c in range(4)}) == 4
    assert len({tuple(tokens(greedy, c)) for c in range(4)}) == 1


def test_reports_are_the_model_s_whatever_the_request_does_to_the_logits(model: Bundle) -> None:
    found = events(
        model, "The", seed=1, max_tokens=5, logprobs=3, temperature=0.3, repetition_penalty=5
    )
    ids = model.tokenizer.encode("The")
    for event in found:
        if isinstance(event, TokenGenerated):
            x = llama.hidden_states(
                model.checkpoint.weights, model.checkpoint.config, np.array(ids)
            )
            logits = llama.logits(model.checkpoint.weights, x)[-1]
            expected = token_logprobs(logits, event.token, 3)
            assert event.logprobs is not None
            np.testing.assert_allclose(event.logprobs.logprob, expected.logprob, atol=1e-3)
            ids.append(event.token)


def test_echo_reports_equal_those_of_generating_the_same_tokens(model: Bundle) -> None:
    whole = events(model, "Once upon a time", temperature=0, max_tokens=6, logprobs=1)
    ids = model.tokenizer.encode("Once upon a time") + tokens(whole)
    params = CompletionParams(max_tokens=1, logprobs=1, echo=True)
    prompt = next(iter(generate(model, Request.of(ids, params))))
    assert isinstance(prompt, PromptProcessed) and prompt.prompt_logprobs is not None
    generated = [e.logprobs for e in whole if isinstance(e, TokenGenerated)]
    for echoed, drawn in zip(prompt.prompt_logprobs[-len(generated) :], generated, strict=True):
        assert echoed is not None and drawn is not None and echoed.token == drawn.token
        np.testing.assert_allclose(echoed.logprob, drawn.logprob, atol=1e-3)
    assert prompt.prompt_logprobs[0] is None and len(prompt.prompt_logprobs) == len(ids)


def test_a_prompt_that_fills_the_context_is_refused_and_one_token_less_is_not(
    model: Bundle,
) -> None:
    params = CompletionParams(max_tokens=5, temperature=0)
    with pytest.raises(ContextLengthExceeded):
        list(generate(model, Request.of([1] * model.context, params)))
    fits = list(generate(model, Request.of([1] * (model.context - 1), params)))
    assert len(tokens(fits)) == 1


@pytest.mark.parametrize("known", [False, True])
def test_an_abort_is_seen_at_every_block_of_a_prompt(model: Bundle, known: bool) -> None:
    """Whether the block is read or known, and once more where its log-probabilities are made."""
    ids = model.tokenizer.encode(STORY)[: 3 * BLOCK]
    request = Request.of(ids, CompletionParams(max_tokens=1, echo=True, logprobs=0))
    for patience in range(6):
        prefixes, asked = PrefixCache(), []

        def aborted(choice: int | None, asked: list[int | None] = asked, most=patience) -> bool:
            asked.append(choice)
            return len(asked) > most

        if known:
            list(generate(model, request, prefixes))
        assert list(generate(model, request, prefixes, aborted)) == [RequestFinished()]
        assert asked == [None] * (patience + 1)


def test_a_special_stop_id_stays_reachable(model: Bundle) -> None:
    """End-of-sequence and stop ids are allowed although they are special; other special ids are
    not.
    """
    bos = model.tokenizer.bos_id
    assert bos is not None
    plain = initial_history(model, Request.of([bos], CompletionParams()))
    asked = initial_history(model, Request.of([bos], CompletionParams(stop_token_ids=(bos,))))
    assert not plain.allowed[bos] and asked.allowed[bos]
    assert plain.allowed[list(model.checkpoint.eos_token_ids)].all()


@settings(max_examples=20)
@given(
    seed=st.integers(0, 99), stop=st.lists(st.sampled_from(["a", " the", "e ", "."]), max_size=2)
)
def test_complete_is_stream_joined(model: Bundle, seed: int, stop: list[str]) -> None:
    params = CompletionParams(
        seed=seed, max_tokens=12, n=2, stop=tuple(stop), logprobs=1, echo=True
    )
    whole = complete(model, "The dog", params)
    for choice, completion in enumerate(whole):
        deltas = [d for c, d in stream(model, "The dog", params) if c == choice]
        assert "".join(d.text for d in deltas) == completion.text
        assert sum((d.entries for d in deltas), ()) == completion.entries
        output = completion.text.removeprefix("The dog")
        assert not any(s in output for s in stop)


def test_refusals_name_the_field(model: Bundle) -> None:
    for prompt, message in ([], "no tokens"), ([10**6], "prompt: id 1000000"), ([-1], "id -1"):
        with pytest.raises(ValueError, match=message):
            complete(model, prompt, CompletionParams())
    for wanted in {"type": "xml"}, {"type": None}, {}:
        with pytest.raises(
            UnsupportedFormat, match=f"the type {wanted.get('type')!r} is not known"
        ):
            complete(model, "x", CompletionParams(response_format=wanted))


def test_a_format_is_not_lost_on_the_way_to_an_engine() -> None:
    asked = CompletionParams(response_format={"type": "json_object"})
    with pytest.raises(ValueError, match="language"):
        Request.of([1], asked)
    with pytest.raises(ValueError, match="language"):
        Request.of([1], CompletionParams(), language=compile_format(asked.response_format))


def test_a_choice_keeps_to_its_format_and_ends_where_the_format_does(model: Bundle) -> None:
    """Also where it is cut off, stopped by a string, and where its first space does not count."""
    for prompt in "Once upon a time", "":
        regex = CompletionParams(
            response_format={"type": "regex", "regex": " ?(ab){2,40}"}, temperature=2, n=4, seed=5
        )
        for choice in complete(model, prompt, regex):
            assert re.fullmatch(" ?(ab){2,40}", choice.text) and choice.finish_reason == "stop"
        [cut] = complete(model, prompt, replace(regex, max_tokens=2, n=1))
        assert cut.finish_reason == "length" and re.fullmatch(" ?(ab)*a?", cut.text)
        [stopped] = complete(model, prompt, replace(regex, n=1, stop=("b",)))
        assert stopped.text.strip() == "a" and stopped.stop_reason == "b"


def test_special_tokens_that_stop_come_only_where_the_text_is_whole(model: Bundle) -> None:
    """A stop token that is text is text here too; end-of-sequence and other special tokens end."""
    bos = model.tokenizer.bos_id
    wanted = CompletionParams(
        response_format={"type": "regex", "regex": "a{3}"}, stop_token_ids=(bos,), temperature=2
    )
    request = Request.of([1, 5], wanted, language=compile_format(wanted.response_format))
    grammar = grammar_of(model, request)
    assert grammar is not None
    a = next(i for i in range(model.vocab_size) if model.tokenizer.piece(i) == b"a")
    for _ in range(3):
        assert not grammar.allowed()[[bos, *model.checkpoint.eos_token_ids]].any()
        grammar.push(a)
    ends = {bos, *model.checkpoint.eos_token_ids}
    assert set(np.flatnonzero(grammar.allowed())) == ends


def test_a_vocabulary_that_cannot_go_on_is_an_error(model: Bundle) -> None:
    """Only "é" may come, and no token has its bytes."""
    pieces = tuple(p for p in (b"a", b"b", b""))
    grammar = Grammar(
        compile_format({"type": "regex", "regex": "aé"}),
        Vocabulary(pieces, frozenset({2})),
        frozenset({2}),
        first=False,
    )
    grammar.push(0)
    with pytest.raises(UnsupportedFormat, match="no token"):
        grammar.allowed()
