"""An engine under load, and what it does when something goes wrong. That its answers are those of
the reference, in every circumstance, is in test_parity.py.
"""

import queue
import threading
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.parity.harness.requests import FORMATS, Asked, collect
from jax_backend.model.attention.cpu import for_platform
from jax_backend.model.checkpoint import load
from jax_backend.serving import step
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.executor import Device, Settings
from reference.bundle import Bundle
from reference.request import Request, RequestFinished, TokenGenerated
from tests.jax_backend.conftest import TIGHT, TIGHT_CONTEXT, engine_of

V = 48


def request(prompt: list[int], **params: Any) -> Request:
    return Asked(prompt, {"seed": 7, "max_tokens": 8, **params}).request


def test_a_cache_hit_is_reported_and_changes_nothing_else(engine: JaxEngine) -> None:
    r = request(list(range(40)) * 2, logprobs=3, n=2, prompt_cache_key="a key of this test")
    cold, warm = collect(engine, [r])[0], collect(engine, [r])[0]
    assert cold.prompt and warm.prompt
    assert (cold.prompt.cached_tokens, warm.prompt.cached_tokens) == (0, 64)
    assert cold.content == warm.content


def test_a_request_that_gives_way_answers_as_if_it_had_not(spec: Bundle) -> None:
    """Four choices that need nearly all the pages there are, each: the younger ones are put back,
    again and again.
    """
    rng = np.random.default_rng(1)
    prompts = [rng.integers(3, V, size).tolist() for size in (90, 130, 50, 70)]
    crowd = [
        request(p, max_tokens=100, temperature=1.2, logprobs=1, frequency_penalty=0.3, seed=i)
        for i, p in enumerate(prompts)
    ]
    engine = engine_of(spec, TIGHT, TIGHT_CONTEXT, endless=True)
    try:
        together = collect(engine, crowd)
        assert engine.scheduler.preempted >= 2
        for r, answer in zip(crowd, together, strict=True):
            (alone,) = collect(engine, [r])
            assert alone.content == answer.content and alone.error is None
    finally:
        engine.close()


def test_nothing_is_compiled_after_the_start(engine: JaxEngine) -> None:
    """Whatever is asked for, in whatever mixture: a day of quiet hours and of busy ones, of clients
    who come back, and of some who go away.
    """
    compiled: list[str] = []

    def heard(event: str, duration: float, **_: Any) -> None:
        if "compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(heard)
    program = engine.device.program
    functions = program.read, program.feed, step.draw
    before = [f._cache_size() for f in functions]
    rng = np.random.default_rng(3)
    answered = 0
    for hour in range(24):
        for _ in range(int(rng.integers(0, 4))):
            request_id = engine.submit(any_request(rng), lambda event: None)
            engine.abort(request_id)
        answers = collect(engine, [any_request(rng) for _ in range(1 + hour % 12)])
        assert all(answer.error is None for answer in answers)
        answered += len(answers)
    assert answered > 150
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


def test_abort_ends_a_request_within_a_step(engine: JaxEngine) -> None:
    """What was under way when it came is one step; what was planned before it was read, another."""
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    started = threading.Event()

    def on_event(event: Any) -> None:
        events.put(event)
        if isinstance(event, TokenGenerated):
            started.set()

    def rest() -> list[Any]:
        found = []
        while not isinstance(event := events.get(timeout=20), RequestFinished):
            found.append(event)
        assert event.error is None
        return found

    long = request([1, 2, 3], max_tokens=3000, n=2)
    [whole] = collect(engine, [long])
    request_id = engine.submit(long, on_event)
    assert started.wait(20)
    engine.abort(request_id, 0)
    engine.abort(request_id)
    before = events.qsize()
    seen = rest()
    assert len(seen) <= before + 2 * 2 and len(seen) < sum(map(len, whole.choices))
    engine.abort(request_id)
    assert collect(engine, [request([1])])[0].error is None
    assert engine.scheduler.pool.available == engine.scheduler.pool.count


def test_nothing_follows_the_end(engine: JaxEngine) -> None:
    """However early or late the abort comes."""
    for pause in range(12):
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        request_id = engine.submit(request(list(range(40)) * 3, max_tokens=40), events.put)
        threading.Event().wait(pause / 2000)
        engine.abort(request_id)
        collect(engine, [request([1], max_tokens=1)])
        seen = [events.get_nowait() for _ in range(events.qsize())]
        assert [type(event) for event in seen].index(RequestFinished) == len(seen) - 1


def test_a_prompt_that_fills_the_context_ends_with_an_error(engine: JaxEngine) -> None:
    (answer,) = collect(engine, [request([5] * 4096)])
    assert isinstance(answer.error, ValueError)


@pytest.mark.parametrize("wrong", [-1, V])
def test_an_id_out_of_the_vocabulary_fails_its_request_alone(engine: JaxEngine, wrong: int) -> None:
    bad, good = collect(engine, [request([3, wrong]), request([3])])
    assert isinstance(bad.error, ValueError) and "prompt" in str(bad.error)
    assert good.error is None


def test_an_engine_that_fails_says_so_and_ends_everything(
    spec: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(spec, Settings(widths=(1,), pages=64, page_size=64, chunks=(8,)))
    monkeypatch.setattr(engine.device, "_feed", lambda *_: 1 / 0)
    answers = collect(engine, [request([1]), request([2])])
    assert [type(a.error) for a in answers] == [ZeroDivisionError] * 2
    assert not engine.stats().healthy
    assert collect(engine, [request([3])])[0].error is not None
    engine.close()


def test_logits_that_are_not_finite_fail_their_request_alone(spec: Bundle) -> None:
    model = load(spec.checkpoint.directory)
    model.embed_tokens[...] = model.embed_tokens[...].at[0].set(jnp.nan)
    settings = Settings(widths=(2,), pages=64, page_size=64, chunks=(8,))
    engine = JaxEngine(model, spec.checkpoint.eos_token_ids, spec.vocabulary, settings)
    bad, good = collect(engine, [request([3, 0], n=2), request([3, 4])])
    assert isinstance(bad.error, ValueError) and "finite" in str(bad.error)
    assert good.error is None
    engine.close()


def test_a_width_that_rounds_otherwise_far_on_in_a_text_is_not_used(spec: Bundle) -> None:
    here = for_platform(jax.default_backend())

    def attend(q: jax.Array, pages: Any, tables: Any, positions: jax.Array, *rest: Any) -> Any:
        out = here.attend(q, pages, tables, positions, *rest)
        otherwise = (positions > 40) & (len(q) == 2)
        return jnp.where(otherwise[:, :, None, None], out * (1 + 2**-20), out)

    model = load(spec.checkpoint.directory, attention=replace(here, attend=attend), context=64)
    device = Device(model, frozenset(), spec.vocabulary, replace(TIGHT, widths=(2, 4), pages=4))
    device.warm_up(lambda *_: None)
    assert device.widths == (4,)


@pytest.mark.parametrize("wrong", [{"widths": (8, 4)}, {"widths": ()}, {"chunks": (0, 8)}])
def test_settings_are_checked(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]
