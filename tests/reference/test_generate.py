"""One request on the embedded model: caches, choices, echo, finish. Equality is bitwise."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.bundle import Bundle
from reference.completion import complete, stream
from reference.generate import generate, initial_history, start_grammar
from reference.grammar.response_format import UnsupportedFormat, compile_format
from reference.grammar.token_mask import GrammarMatcher
from reference.logprobs import token_logprobs
from reference.model import llama
from reference.params import CompletionParams
from reference.prefix_cache import BLOCK_SIZE, PrefixCache
from reference.request import Event, PromptProcessed, Request, RequestFinished, TokenGenerated
from reference.stopping import ContextLengthExceeded
from reference.tokenizer.vocabulary import Vocabulary

STORY = "Once upon a time there was a girl. She had a red ball and a small dog. " * 5


def events(
    model: Bundle, prompt: str, prefix_cache: PrefixCache | None = None, **params
) -> list[Event]:
    request = Request.of(model.tokenizer.encode(prompt), CompletionParams(**params))
    return list(generate(model, request, prefix_cache))


def tokens(events: list[Event], choice: int = 0) -> list[int]:
    return [e.token for e in events if isinstance(e, TokenGenerated) and e.choice == choice]


def test_greedy_is_argmax_of_uncached_model(model: Bundle) -> None:
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
def test_cached_prefix_changes_only_cached_tokens(
    model: Bundle, cut: int, key: str | None, seed: int, n: int
) -> None:
    params = {"seed": seed, "n": n, "max_tokens": 4, "logprobs": 2, "echo": True}
    cold = events(model, STORY, prompt_cache_key=key, **params)
    prefix_cache = PrefixCache()
    ids = tuple(model.tokenizer.encode(STORY))
    earlier = Request(
        prompt=ids[: max(1, cut)],
        params=CompletionParams(max_tokens=1, prompt_cache_key=key),
        seed=0,
    )
    list(generate(model, earlier, prefix_cache))
    warm = events(model, STORY, prefix_cache, prompt_cache_key=key, **params)
    assert cold[1:] == warm[1:]
    assert isinstance(cold[0], PromptProcessed) and isinstance(warm[0], PromptProcessed)
    assert (cold[0].prompt_logprobs, cold[0].cached_tokens) == (warm[0].prompt_logprobs, 0)
    assert warm[0].cached_tokens == min(cut, len(ids)) // BLOCK_SIZE * BLOCK_SIZE


def test_principals_and_keys_share_no_prefixes(model: Bundle) -> None:
    prefix_cache = PrefixCache()
    ids = tuple(model.tokenizer.encode(STORY))

    def cached(principal: str, key: str | None) -> int:
        params = CompletionParams(max_tokens=1, prompt_cache_key=key)
        request = Request(prompt=ids, params=params, seed=0, principal=principal)
        return next(
            e for e in generate(model, request, prefix_cache) if isinstance(e, PromptProcessed)
        ).cached_tokens

    whole = len(ids) // BLOCK_SIZE * BLOCK_SIZE
    assert [cached("a", None), cached("a", None)] == [0, whole]
    assert [cached("b", None), cached("a", "k"), cached("a", "None")] == [0, 0, 0]
    assert [cached("b", None), cached("a", "k"), cached("a", None)] == [whole] * 3


def test_prefix_cache_evicts_least_recently_used(model: Bundle) -> None:
    prefix_cache = PrefixCache()
    events(model, STORY, prefix_cache, max_tokens=1)
    block_size = next(iter(prefix_cache.blocks.values())).nbytes
    assert prefix_cache.size == block_size * len(prefix_cache.blocks) > block_size
    small = PrefixCache(capacity=block_size)
    events(model, STORY, small, max_tokens=1)
    assert small.size == block_size and len(small.blocks) == 1


@settings(max_examples=20)
@given(seed=st.integers(0, 2**64 - 1), n=st.integers(2, 4), temperature=st.sampled_from([0.7, 1.0]))
def test_choice_does_not_depend_on_n(model: Bundle, seed: int, n: int, temperature: float) -> None:
    params = {"seed": seed, "max_tokens": 6, "temperature": temperature}
    four, fewer = events(model, "The", n=4, **params), events(model, "The", n=n, **params)
    for choice in range(n):
        assert tokens(fewer, choice) == tokens(four, choice)


def test_sampled_choices_differ_and_greedy_ones_do_not(model: Bundle) -> None:
    warm = events(model, "The", n=4, seed=1, max_tokens=8, temperature=1.5)
    greedy = events(model, "The", n=4, seed=1, max_tokens=8, temperature=0)
    assert len({tuple(tokens(warm, c)) for c in range(4)}) == 4
    assert len({tuple(tokens(greedy, c)) for c in range(4)}) == 1


def test_logprobs_ignore_temperature_and_penalties(model: Bundle) -> None:
    generated = events(
        model, "The", seed=1, max_tokens=5, logprobs=3, temperature=0.3, repetition_penalty=5
    )
    ids = model.tokenizer.encode("The")
    for event in generated:
        if isinstance(event, TokenGenerated):
            x = llama.hidden_states(
                model.checkpoint.weights, model.checkpoint.config, np.array(ids)
            )
            logits = llama.logits(model.checkpoint.weights, x)[-1]
            expected = token_logprobs(logits, event.token, 3)
            assert event.logprobs is not None
            np.testing.assert_allclose(event.logprobs.logprob, expected.logprob, atol=1e-3)
            ids.append(event.token)


def test_echo_logprobs_equal_those_of_generation(model: Bundle) -> None:
    whole = events(model, "Once upon a time", temperature=0, max_tokens=6, logprobs=1)
    ids = model.tokenizer.encode("Once upon a time") + tokens(whole)
    params = CompletionParams(max_tokens=1, logprobs=1, echo=True)
    prompt = next(iter(generate(model, Request.of(ids, params))))
    assert isinstance(prompt, PromptProcessed) and prompt.prompt_logprobs is not None
    generated = [e.logprobs for e in whole if isinstance(e, TokenGenerated)]
    for echoed, sampled in zip(prompt.prompt_logprobs[-len(generated) :], generated, strict=True):
        assert echoed is not None and sampled is not None and echoed.token == sampled.token
        np.testing.assert_allclose(echoed.logprob, sampled.logprob, atol=1e-3)
    assert prompt.prompt_logprobs[0] is None and len(prompt.prompt_logprobs) == len(ids)


def test_prompt_that_fills_the_context_is_refused(model: Bundle) -> None:
    params = CompletionParams(max_tokens=5, temperature=0)
    with pytest.raises(ContextLengthExceeded):
        list(generate(model, Request.of([1] * model.context, params)))
    fits = list(generate(model, Request.of([1] * (model.context - 1), params)))
    assert len(tokens(fits)) == 1


@pytest.mark.parametrize("cached", [False, True])
def test_abort_is_checked_before_every_block(model: Bundle, cached: bool) -> None:
    """It is checked for computed and cached blocks, and again before each block's logprobs."""
    ids = model.tokenizer.encode(STORY)[: 3 * BLOCK_SIZE]
    request = Request.of(ids, CompletionParams(max_tokens=1, echo=True, logprobs=0))
    for max_calls in range(6):
        prefix_cache, calls = PrefixCache(), []

        def should_abort(
            choice: int | None, calls: list[int | None] = calls, max_calls: int = max_calls
        ) -> bool:
            calls.append(choice)
            return len(calls) > max_calls

        if cached:
            list(generate(model, request, prefix_cache))
        assert list(generate(model, request, prefix_cache, should_abort)) == [RequestFinished()]
        assert calls == [None] * (max_calls + 1)


def test_special_stop_id_stays_reachable(model: Bundle) -> None:
    """End-of-sequence and stop ids are allowed even if special; other special ids are not."""
    bos = model.tokenizer.bos_id
    assert bos is not None
    plain = initial_history(model, Request.of([bos], CompletionParams()))
    stopping = initial_history(model, Request.of([bos], CompletionParams(stop_token_ids=(bos,))))
    assert not plain.allowed[bos] and stopping.allowed[bos]
    assert plain.allowed[list(model.checkpoint.eos_token_ids)].all()


@settings(max_examples=20)
@given(
    seed=st.integers(0, 99), stop=st.lists(st.sampled_from(["a", " the", "e ", "."]), max_size=2)
)
def test_complete_equals_joined_stream(model: Bundle, seed: int, stop: list[str]) -> None:
    params = CompletionParams(
        seed=seed, max_tokens=12, n=2, stop=tuple(stop), logprobs=1, echo=True
    )
    completions = complete(model, "The dog", params)
    for choice, completion in enumerate(completions):
        deltas = [d for c, d in stream(model, "The dog", params) if c == choice]
        assert "".join(d.text for d in deltas) == completion.text
        assert sum((d.entries for d in deltas), ()) == completion.entries
        output = completion.text.removeprefix("The dog")
        assert not any(s in output for s in stop)


def test_errors_name_the_field(model: Bundle) -> None:
    for prompt, value in ([], "none"), ([10**6], "1000000 at index 0"), ([-1], "-1 at index 0"):
        with pytest.raises(ValueError, match=f"^prompt: .* got {value}"):
            complete(model, prompt, CompletionParams())
    for response_format in {"type": "xml"}, {"type": None}, {}:
        with pytest.raises(
            UnsupportedFormat, match=f"the type {response_format.get('type')!r} is not known"
        ):
            complete(model, "x", CompletionParams(response_format=response_format))


def test_request_needs_the_language_of_its_format() -> None:
    params = CompletionParams(response_format={"type": "json_object"})
    with pytest.raises(ValueError, match="language"):
        Request.of([1], params)
    with pytest.raises(ValueError, match="language"):
        Request.of([1], CompletionParams(), language=compile_format(params.response_format))


def test_choice_matches_its_format(model: Bundle) -> None:
    """This includes truncated outputs, stop strings, and outputs at the start of a text."""
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


def test_special_stop_tokens_end_only_complete_texts(model: Bundle) -> None:
    """Special stop tokens are allowed only after a complete text, as end-of-sequence is."""
    bos = model.tokenizer.bos_id
    params = CompletionParams(
        response_format={"type": "regex", "regex": "a{3}"}, stop_token_ids=(bos,), temperature=2
    )
    request = Request.of([1, 5], params, language=compile_format(params.response_format))
    grammar = start_grammar(model, request)
    assert grammar is not None
    a = next(i for i in range(model.vocab_size) if model.tokenizer.token_bytes(i) == b"a")
    for _ in range(3):
        assert not grammar.allowed()[[bos, *model.checkpoint.eos_token_ids]].any()
        grammar.push(a)
    ends = {bos, *model.checkpoint.eos_token_ids}
    assert set(np.flatnonzero(grammar.allowed())) == ends


def test_vocabulary_without_a_valid_token_is_an_error(model: Bundle) -> None:
    """Only "é" is valid next, and no token has its bytes."""
    pieces = tuple(p for p in (b"a", b"b", b""))
    grammar = GrammarMatcher(
        compile_format({"type": "regex", "regex": "aé"}),
        Vocabulary(pieces, frozenset({2})),
        frozenset({2}),
        strip_space=False,
    )
    grammar.push(0)
    with pytest.raises(UnsupportedFormat, match="no token"):
        grammar.allowed()
