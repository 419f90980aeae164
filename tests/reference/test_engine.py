"""The reference behind the three verbs: one request after another, aborted, failed, closed."""

import queue
from collections.abc import Iterator

import pytest

from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.generate import generate
from reference.params import CompletionParams
from reference.request import Event, PromptProcessed, Request, RequestFinished, TokenGenerated
from reference.stopping import ContextLengthExceeded

LONG = Request(prompt=(1,), params=CompletionParams(max_tokens=400, n=4), seed=3)


@pytest.fixture()
def engine(model: Bundle) -> Iterator[ReferenceEngine]:
    engine = ReferenceEngine(model)
    yield engine
    engine.close()


def test_the_engine_gives_the_same_events_one_request_after_another(
    model: Bundle, engine: ReferenceEngine
) -> None:
    request = Request.of(model.tokenizer.encode("The"), CompletionParams(seed=3, max_tokens=5, n=2))
    streams: list[queue.SimpleQueue[Event]] = [queue.SimpleQueue() for _ in range(3)]
    for s in streams:
        engine.submit(request, s.put)
    expected = list(generate(model, request))
    for s in streams:
        assert [s.get(timeout=60) for _ in expected] == expected
    assert engine.stats().healthy


def test_an_abort_ends_a_choice_or_a_request_within_a_step(
    model: Bundle, engine: ReferenceEngine
) -> None:
    found: queue.SimpleQueue[Event] = queue.SimpleQueue()
    request_ids: list[int] = []

    def on_event(event: Event) -> None:
        found.put(event)
        if isinstance(event, TokenGenerated):
            engine.abort(request_ids[0], event.choice if event.choice == 0 else None)

    request = Request.of([1], CompletionParams(seed=3, max_tokens=400, n=4))
    ready = queue.SimpleQueue[None]()
    engine.submit(
        request, lambda event: ready.get(timeout=60) if isinstance(event, PromptProcessed) else None
    )
    request_ids.append(engine.submit(request, on_event))
    engine.abort(request_ids[0] - 1)
    ready.put(None)
    seen = []
    while not seen or not isinstance(seen[-1], RequestFinished):
        seen.append(found.get(timeout=60))
    assert [e.choice for e in seen if isinstance(e, TokenGenerated)] == [0, 1]
    assert seen[-1].error is None


def test_an_error_in_the_model_ends_the_request_and_not_the_engine(
    model: Bundle, engine: ReferenceEngine
) -> None:
    found: queue.SimpleQueue[Event] = queue.SimpleQueue()
    engine.submit(Request.of([1] * model.context, CompletionParams()), found.put)
    end = found.get(timeout=60)
    assert isinstance(end, RequestFinished) and isinstance(end.error, ContextLengthExceeded)
    engine.submit(Request.of([1], CompletionParams(max_tokens=1, seed=0)), found.put)
    assert isinstance(found.get(timeout=60), PromptProcessed) and engine.stats().healthy


def until_end(found: "queue.SimpleQueue[Event]") -> list[Event]:
    seen = [found.get(timeout=60)]
    while not isinstance(seen[-1], RequestFinished):
        seen.append(found.get(timeout=60))
    return seen


def test_close_ends_what_runs_and_what_waits_with_an_error(model: Bundle) -> None:
    engine = ReferenceEngine(model)
    streams: list[queue.SimpleQueue[Event]] = [queue.SimpleQueue() for _ in range(3)]
    for s in streams:
        engine.submit(LONG, s.put)
    assert isinstance(streams[0].get(timeout=60), PromptProcessed)
    engine.close()
    assert not engine.stats().healthy
    tokens, *waiting = [until_end(s) for s in streams]
    assert len(tokens) < 400
    for end in tokens[-1], *(events[0] for events in waiting):
        assert isinstance(end, RequestFinished) and "closed" in str(end.error)


def test_what_is_submitted_after_close_ends_with_an_error(model: Bundle) -> None:
    engine = ReferenceEngine(model)
    engine.close()
    engine.close()
    found: queue.SimpleQueue[Event] = queue.SimpleQueue()
    engine.abort(engine.submit(LONG, found.put))
    [end] = until_end(found)
    assert isinstance(end, RequestFinished) and "closed" in str(end.error)
