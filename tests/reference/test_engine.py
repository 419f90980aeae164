"""The reference behind the engine interface: submit, abort, failure, close."""

import queue
from collections.abc import Iterator

import pytest

from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.generate import generate
from reference.params import CompletionParams
from reference.request import Event, PromptProcessed, Request, RequestFinished, TokenGenerated
from reference.stopping import ContextLengthExceeded

EventQueue = queue.SimpleQueue[Event]
LONG = Request(prompt=(1,), params=CompletionParams(max_tokens=400, n=4), seed=3)


@pytest.fixture()
def engine(model: Bundle) -> Iterator[ReferenceEngine]:
    engine = ReferenceEngine(model)
    yield engine
    engine.close()


def until_finished(stream: EventQueue) -> list[Event]:
    events = [stream.get(timeout=60)]
    while not isinstance(events[-1], RequestFinished):
        events.append(stream.get(timeout=60))
    return events


def test_events_are_those_of_generate(model: Bundle, engine: ReferenceEngine) -> None:
    request = Request.of(model.tokenizer.encode("The"), CompletionParams(seed=3, max_tokens=5, n=2))
    streams: list[EventQueue] = [queue.SimpleQueue() for _ in range(3)]
    for stream in streams:
        engine.submit(request, stream.put)
    expected = list(generate(model, request))
    for stream in streams:
        assert [stream.get(timeout=60) for _ in expected] == expected
    assert engine.stats().healthy


def test_abort_ends_choice_or_request_within_a_step(model: Bundle, engine: ReferenceEngine) -> None:
    stream: EventQueue = queue.SimpleQueue()
    request_ids: list[int] = []

    def on_event(event: Event) -> None:
        stream.put(event)
        if isinstance(event, TokenGenerated):
            engine.abort(request_ids[0], event.choice if event.choice == 0 else None)

    request = Request.of([1], CompletionParams(seed=3, max_tokens=400, n=4))
    # A first request blocks the engine until the id of the second is known.
    ready = queue.SimpleQueue[None]()
    engine.submit(
        request, lambda event: ready.get(timeout=60) if isinstance(event, PromptProcessed) else None
    )
    request_ids.append(engine.submit(request, on_event))
    engine.abort(request_ids[0] - 1)
    ready.put(None)
    events = until_finished(stream)
    assert [e.choice for e in events if isinstance(e, TokenGenerated)] == [0, 1]
    assert isinstance(events[-1], RequestFinished) and events[-1].error is None


def test_model_error_ends_only_its_request(model: Bundle, engine: ReferenceEngine) -> None:
    stream: EventQueue = queue.SimpleQueue()
    engine.submit(Request.of([1] * model.context, CompletionParams()), stream.put)
    end = stream.get(timeout=60)
    assert isinstance(end, RequestFinished) and isinstance(end.error, ContextLengthExceeded)
    engine.submit(Request.of([1], CompletionParams(max_tokens=1, seed=0)), stream.put)
    assert isinstance(stream.get(timeout=60), PromptProcessed) and engine.stats().healthy


def test_close_fails_running_and_waiting_requests(model: Bundle) -> None:
    engine = ReferenceEngine(model)
    streams: list[EventQueue] = [queue.SimpleQueue() for _ in range(3)]
    for stream in streams:
        engine.submit(LONG, stream.put)
    assert isinstance(streams[0].get(timeout=60), PromptProcessed)
    engine.close()
    assert not engine.stats().healthy
    tokens, *waiting = [until_finished(stream) for stream in streams]
    assert len(tokens) < 400
    for end in tokens[-1], *(events[0] for events in waiting):
        assert isinstance(end, RequestFinished) and "closed" in str(end.error)


def test_submit_after_close_fails(model: Bundle) -> None:
    engine = ReferenceEngine(model)
    engine.close()
    engine.close()
    stream: EventQueue = queue.SimpleQueue()
    engine.abort(engine.submit(LONG, stream.put))
    [end] = until_finished(stream)
    assert isinstance(end, RequestFinished) and "closed" in str(end.error)
