"""An engine under load, and its failures. Its results are compared in test_parity.py."""

import queue
import threading
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.parity.harness.requests import FORMATS, RequestSpec, collect
from jax_backend.model.attention.select import for_platform
from jax_backend.model.checkpoint import load
from jax_backend.serving.decode import sample_step
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.executor import Executor
from jax_backend.serving.settings import Settings
from jax_backend.serving.warmup import warm_up
from reference.bundle import Bundle
from reference.request import Request, RequestFinished, TokenGenerated
from tests.jax_backend.conftest import TIGHT, TIGHT_CONTEXT, engine_of

V = 48


def request(prompt: list[int], **params: Any) -> Request:
    return RequestSpec(prompt, {"seed": 7, "max_tokens": 8, **params}).request


def test_prefix_cache_hit_is_reported_and_bitwise_identical(engine: JaxEngine) -> None:
    r = request(list(range(40)) * 2, logprobs=3, n=2, prompt_cache_key="a key of this test")
    miss, hit = collect(engine, [r])[0], collect(engine, [r])[0]
    assert miss.prompt and hit.prompt
    assert (miss.prompt.cached_tokens, hit.prompt.cached_tokens) == (0, 64)
    assert miss.content == hit.content


def test_preempted_request_gives_the_same_output(spec: Bundle) -> None:
    """Four requests, each of which needs nearly all pages: newer ones are preempted repeatedly."""
    rng = np.random.default_rng(1)
    prompts = [rng.integers(3, V, size).tolist() for size in (90, 130, 50, 70)]
    requests = [
        request(p, max_tokens=100, temperature=1.2, logprobs=1, frequency_penalty=0.3, seed=i)
        for i, p in enumerate(prompts)
    ]
    engine = engine_of(spec, TIGHT, TIGHT_CONTEXT, without_eos=True)
    try:
        together = collect(engine, requests)
        assert engine.scheduler.num_preemptions >= 2
        for r, answer in zip(requests, together, strict=True):
            (alone,) = collect(engine, [r])
            assert alone.content == answer.content and alone.error is None
    finally:
        engine.close()


def test_warmup_compiles_every_shape(engine: JaxEngine) -> None:
    """Random mixtures of requests, with varying load, repeated prompts and aborts."""
    compiled: list[str] = []

    def on_compilation(event: str, duration: float, **_: Any) -> None:
        if "compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(on_compilation)
    program = engine.executor.program
    functions = program.forward, program.prompt_logprobs, sample_step
    before = [f._cache_size() for f in functions]
    rng = np.random.default_rng(3)
    num_answers = 0
    for i in range(24):
        for _ in range(int(rng.integers(0, 4))):
            request_id = engine.submit(any_request(rng), lambda event: None)
            engine.abort(request_id)
        answers = collect(engine, [any_request(rng) for _ in range(1 + i % 12)])
        assert all(answer.error is None for answer in answers)
        num_answers += len(answers)
    assert num_answers > 150
    assert [f._cache_size() for f in functions] == before
    jax.monitoring.clear_event_listeners()
    assert compiled == []


def any_request(rng: np.random.Generator) -> Request:
    format = FORMATS[rng.integers(len(FORMATS))]
    return request(
        [*range(int(rng.integers(0, 40))), *rng.integers(0, V, int(rng.integers(1, 120))).tolist()],
        max_tokens=int(rng.integers(1, 20)),
        n=int(rng.integers(1, 5)),
        response_format=format,
        **{k: v for k, v in EVERYTHING.items() if rng.random() < 0.5},
    )


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


def test_abort_ends_a_request_within_one_step(engine: JaxEngine) -> None:
    """One step is in flight when the abort arrives, and one may be launched before it is seen."""
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    started = threading.Event()

    def on_event(event: Any) -> None:
        events.put(event)
        if isinstance(event, TokenGenerated):
            started.set()

    def rest() -> list[Any]:
        received = []
        while not isinstance(event := events.get(timeout=20), RequestFinished):
            received.append(event)
        assert event.error is None
        return received

    long = request([1, 2, 3], max_tokens=3000, n=2)
    [complete] = collect(engine, [long])
    request_id = engine.submit(long, on_event)
    assert started.wait(20)
    engine.abort(request_id, 0)
    engine.abort(request_id)
    before = events.qsize()
    received = rest()
    assert len(received) <= before + 2 * 2 and len(received) < sum(map(len, complete.choices))
    engine.abort(request_id)
    assert collect(engine, [request([1])])[0].error is None
    assert engine.scheduler.pool.num_available == engine.scheduler.pool.num_pages


def test_finished_event_is_the_last(engine: JaxEngine) -> None:
    """The abort arrives at various times."""
    for pause in range(12):
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        request_id = engine.submit(request(list(range(40)) * 3, max_tokens=40), events.put)
        threading.Event().wait(pause / 2000)
        engine.abort(request_id)
        collect(engine, [request([1], max_tokens=1)])
        received = [events.get_nowait() for _ in range(events.qsize())]
        assert [type(event) for event in received].index(RequestFinished) == len(received) - 1


def test_prompt_that_fills_the_context_ends_with_an_error(engine: JaxEngine) -> None:
    (answer,) = collect(engine, [request([5] * 4096)])
    assert isinstance(answer.error, ValueError)


@pytest.mark.parametrize("wrong", [-1, V])
def test_invalid_token_id_fails_only_its_request(engine: JaxEngine, wrong: int) -> None:
    bad, good = collect(engine, [request([3, wrong]), request([3])])
    assert isinstance(bad.error, ValueError) and "prompt" in str(bad.error)
    assert good.error is None


def test_engine_failure_ends_all_requests(spec: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(spec, TIGHT, TIGHT_CONTEXT)
    monkeypatch.setattr(engine.executor, "decode_forward", lambda *_: 1 / 0)
    answers = collect(engine, [request([1]), request([2])])
    assert [type(a.error) for a in answers] == [ZeroDivisionError] * 2
    assert not engine.stats().healthy
    assert collect(engine, [request([3])])[0].error is not None
    engine.close()


def test_non_finite_logits_fail_only_their_request(spec: Bundle) -> None:
    model = load(spec.checkpoint.directory, context=TIGHT_CONTEXT)
    model.embed_tokens[...] = model.embed_tokens[...].at[0].set(jnp.nan)
    engine = JaxEngine(model, spec.checkpoint.eos_token_ids, spec.vocabulary, TIGHT)
    bad, good = collect(engine, [request([3, 0], n=2), request([3, 4])])
    assert isinstance(bad.error, ValueError) and "finite" in str(bad.error)
    assert good.error is None
    engine.close()


def test_batch_size_that_differs_at_long_context_is_not_used(spec: Bundle) -> None:
    attention = for_platform(jax.default_backend())

    def attend(q: jax.Array, pages: Any, page_tables: Any, positions: jax.Array, *rest: Any) -> Any:
        out = attention.attend(q, pages, page_tables, positions, *rest)
        perturbed = (positions > 40) & (len(q) == 2)
        return jnp.where(perturbed[:, :, None, None], out * (1 + 2**-20), out)

    model = load(spec.checkpoint.directory, attention=replace(attention, attend=attend), context=64)
    settings = replace(TIGHT, batch_sizes=(2, 4), num_pages=4)
    executor = Executor(model, frozenset(), spec.vocabulary, settings)
    warm_up(executor, lambda *_: None)
    assert executor.batch_sizes == (4,)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_sizes": (8, 4)},
        {"batch_sizes": ()},
        {"prefill_sizes": (0, 32)},
        {"segment_size": 24},
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]
