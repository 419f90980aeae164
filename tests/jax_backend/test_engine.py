"""Whole requests through the engine: against the reference, and against themselves in every other
circumstance.
"""

import queue
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jax_backend import step
from jax_backend.device import Settings
from jax_backend.engine import JaxEngine
from reference import sampler as spec_sampler
from reference.generate import generate
from reference.model import Model
from reference.prefix_cache import PrefixCache
from reference.request import End, Prompt, Request, Token
from tests.jax_backend.conftest import TIGHT, engine_of
from tests.jax_backend.running import Asked, asked, build, collect

# Of a log-probability: a few hundred float32 roundings (2⁻²⁴ each, of logits below 16) add up to
# less than this along the longest path through these models.
TOLERANCE = 1e-4
V = 48


def request(prompt: list[int], **params: Any) -> Request:
    return build((prompt, {"seed": 7, "max_tokens": 8, **params}, "me"))


@given(asked(V))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_reference_agrees(spec: Model, engine: JaxEngine, what: Asked) -> None:
    """Token by token: the reference is shown what the engine chose, says by how much that falls
    short of its own choice, and goes on from there.
    """
    r = build(what)
    (answer,) = collect(engine, [r])
    assert answer.error is None
    chosen = iter([t for tokens in answer.tokens for t in tokens])

    def follow(logits: Any, history: Any, noise: Any) -> int:
        token = next(chosen)
        score = spec_sampler.final_logits(logits, history) + noise
        assert acceptable(logits, history, noise, token), (token, int(np.argmax(score)))
        return token

    expected = list(generate(spec, r, PrefixCache(), sample=follow))
    prompt = expected[0]
    assert isinstance(prompt, Prompt) and answer.prompt
    close(answer.prompt.reports or (), prompt.reports or ())
    tokens = [e for e in expected if isinstance(e, Token)]
    mine = [t for choice in answer.choices for t in choice]
    assert [(t.choice, t.token, t.finish_reason, t.stop_reason) for t in mine] == [
        (t.choice, t.token, t.finish_reason, t.stop_reason) for t in tokens
    ]
    close([t.report for t in mine], [t.report for t in tokens])


def acceptable(logits: Any, history: Any, noise: Any, token: int) -> bool:
    """Whether a token is the choice, or would be if the logits were off by the tolerance.

    Truncation may let in a token, or leave one out, that lies so near its line: then the others'
    lines are moved by as much, and the choice must be right for one of them.
    """
    rng = np.random.default_rng(0)
    if spec_sampler.sample(logits, history, noise) == token:
        return True
    for _ in range(64):
        nudge = rng.uniform(-TOLERANCE, TOLERANCE, len(logits)).astype(np.float32)
        if spec_sampler.sample(logits + nudge, history, noise) == token:
            return True
    return False


def close(mine: Any, theirs: Any) -> None:
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is None:
            continue
        assert a.token == b.token and a.logprob == pytest.approx(b.logprob, abs=TOLERANCE)
        values = [v for _, v in a.top], [v for _, v in b.top]
        np.testing.assert_allclose(values[0], values[1], atol=TOLERANCE)


CROWDS = st.lists(asked(V), min_size=2, max_size=8)


@given(CROWDS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_alone_is_in_a_crowd_is_cached_to_the_bit(engine: JaxEngine, crowd: list[Asked]) -> None:
    requests = [build(what) for what in crowd]
    together = collect(engine, requests)
    for r, answer in zip(requests, together, strict=True):
        assert answer.error is None
        (alone,) = collect(engine, [r])
        assert alone.content == answer.content
        assert (
            not alone.prompt
            or not answer.prompt
            or r.reports_prompt
            or (alone.prompt.cached_tokens >= answer.prompt.cached_tokens)
        )


def test_a_cache_hit_is_reported_and_changes_nothing_else(engine: JaxEngine) -> None:
    r = request(list(range(40)) * 2, logprobs=3, n=2, prompt_cache_key="a key of this test")
    cold, warm = collect(engine, [r])[0], collect(engine, [r])[0]
    assert cold.prompt and warm.prompt
    assert (cold.prompt.cached_tokens, warm.prompt.cached_tokens) == (0, 64)
    assert cold.content == warm.content


def test_a_request_that_gives_way_answers_as_if_it_had_not(spec: Model, engine: JaxEngine) -> None:
    """Four choices that need all the pages there are, each: the younger ones are put back, again
    and again.
    """
    rng = np.random.default_rng(1)
    prompts = [rng.integers(3, V, size).tolist() for size in (900, 1100, 500, 700)]
    requests = [
        request(p, max_tokens=700, temperature=1.2, logprobs=1, frequency_penalty=0.3, seed=i)
        for i, p in enumerate(prompts)
    ]
    tight = engine_of(spec, TIGHT, endless=True)
    try:
        preempted = []
        preempt = tight.scheduler._preempt
        tight.scheduler._preempt = lambda choice: (preempted.append(choice), preempt(choice))  # type: ignore[method-assign,func-returns-value,assignment]
        together = collect(tight, requests)
        assert preempted
        for r, answer in zip(requests, together, strict=True):
            (alone,) = collect(tight, [r])
            assert alone.content == answer.content and alone.error is None
    finally:
        tight.close()


def test_nothing_is_compiled_after_the_start(engine: JaxEngine) -> None:
    """Whatever is asked for, in whatever mixture."""
    compiled: list[str] = []

    def heard(event: str, duration: float, **_: Any) -> None:
        if "compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(heard)
    before = step.decode._cache_size(), step.read._cache_size()
    rng = np.random.default_rng(3)
    mixed = [
        request(
            rng.integers(0, V, int(rng.integers(1, 120))).tolist(),
            max_tokens=int(rng.integers(1, 20)),
            n=int(rng.integers(1, 5)),
            **{k: v for k, v in EVERYTHING.items() if rng.random() < 0.5},
        )
        for _ in range(40)
    ]
    answers = collect(engine, mixed)
    assert all(answer.error is None for answer in answers)
    assert (step.decode._cache_size(), step.read._cache_size()) == before
    jax.monitoring.clear_event_listeners()
    assert compiled == []


EVERYTHING = {
    "temperature": 1.5,
    "top_p": 0.8,
    "min_p": 0.05,
    "top_k": 20,
    "logprobs": 4,
    "echo": True,
    "stop_token_ids": (5,),
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "repetition_penalty": 1.2,
}


def test_abort_ends_a_request_within_a_step(engine: JaxEngine) -> None:
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    started = threading.Event()

    def deliver(event: Any) -> None:
        events.put(event)
        if isinstance(event, Token):
            started.set()

    ticket = engine.submit(request([1, 2, 3], max_tokens=3000, n=2, stop_token_ids=()), deliver)
    assert started.wait(20)
    engine.abort(ticket, 0)
    engine.abort(ticket)
    seen = []
    while not isinstance(event := events.get(timeout=20), End):
        seen.append(event)
    assert event.error is None and len(seen) < 2000
    engine.abort(ticket)
    assert collect(engine, [request([1])])[0].error is None
    assert engine.scheduler.pool.available == engine.scheduler.pool.count


def test_a_prompt_that_fills_the_context_ends_with_an_error(engine: JaxEngine) -> None:
    (answer,) = collect(engine, [request([5] * 4096)])
    assert isinstance(answer.error, ValueError)


def test_an_engine_that_fails_says_so_and_ends_everything(
    spec: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(spec, Settings(widths=(1,), pages=64, page_size=64, chunks=(8,)))
    monkeypatch.setattr(engine.device, "_decode", lambda rows: 1 / 0)
    answers = collect(engine, [request([1]), request([2])])
    assert [type(a.error) for a in answers] == [ZeroDivisionError] * 2
    assert not engine.stats().healthy
    assert collect(engine, [request([3])])[0].error is not None
    engine.close()


def test_logits_that_are_not_finite_fail_their_request_alone(spec: Model) -> None:
    engine = engine_of(spec, Settings(widths=(2,), pages=64, page_size=64, chunks=(8,)))
    embedding = engine.device.weights["embed_tokens"][...]
    engine.device.weights["embed_tokens"] = engine.device.weights["embed_tokens"].replace(
        embedding.at[0].set(np.nan)
    )
    bad, good = collect(engine, [request([3, 0], n=2), request([3, 4])])
    assert isinstance(bad.error, ValueError) and "finite" in str(bad.error)
    assert good.error is None
    engine.close()


@pytest.mark.parametrize("wrong", [{"widths": (8, 4)}, {"widths": ()}, {"chunks": (0, 8)}])
def test_settings_are_checked(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]


def test_a_checkpoint_goes_to_the_device_whole(spec: Model) -> None:
    from jax_backend.checkpoint import load

    directory: Path = spec.checkpoint.directory
    model = load(directory)
    np.testing.assert_array_equal(model.embed_tokens[...], spec.checkpoint.weights.embedding)
    with pytest.raises(ValueError, match="dtype"):
        load(directory, np.float16)
