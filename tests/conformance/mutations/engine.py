"""The app under test, and engines that sample otherwise or change requests or events."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from api.app import create_app
from api.engine import Engine, ServedModel
from conformance.oracle.dialects import Chain
from reference import sampler
from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.generate import Sampler
from reference.logits import Logits
from reference.request import Event, Request

Json = dict[str, Any]
NAME = "tiny"


def served_model(
    model: Bundle, engine: Engine | None = None, sample: Sampler = sampler.sample
) -> ServedModel:
    """Return a model for the endpoint, on the reference engine unless another one is given."""
    return ServedModel(
        name=NAME,
        engine=engine or ReferenceEngine(model, sample),
        tokenizer=model.tokenizer,
        vocabulary=model.vocabulary,
        vocab_size=model.vocab_size,
        context=model.context,
        image_processor=model.image_processor,
        build="tiny",
    )


def conforming_app(model: Bundle, **options: Any) -> ASGIApp:
    """Return the app without a fault."""
    return create_app([served_model(model)], **options)


def with_sampler(model: Bundle, sample: Sampler) -> ASGIApp:
    """Return an app with another sampling function."""
    return create_app([served_model(model, sample=sample)])


def with_logits_chain(model: Bundle, final: Chain) -> ASGIApp:
    """Return an app with another chain of steps from the model's logits to those sampled from."""

    def sample(logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        return sampler.gumbel_argmax(final(logits, history), noise)

    return with_sampler(model, sample)


class RequestMutatingEngine:
    """An engine that changes each request before it runs it."""

    def __init__(self, engine: Engine, change: Callable[[Request], Request]) -> None:
        self.engine, self.change = engine, change
        self.abort, self.stats, self.close = engine.abort, engine.stats, engine.close

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        return self.engine.submit(self.change(request), on_event)


def with_engine_requests(model: Bundle, change: Callable[[Request], Request]) -> ASGIApp:
    """Return an app whose engine runs changed requests; the detokenizer sees the original ones."""
    return create_app([served_model(model, RequestMutatingEngine(ReferenceEngine(model), change))])


def with_params(request: Request, **changed: Any) -> Request:
    """Return a request with some parameters changed."""
    return replace(request, params=replace(request.params, **changed))


class EventMutatingEngine:
    """An engine that changes its events, given the request."""

    def __init__(self, engine: Engine, change: Callable[[Request, Event], Event]) -> None:
        self.engine, self.change = engine, change
        self.abort, self.stats, self.close = engine.abort, engine.stats, engine.close

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        return self.engine.submit(request, lambda event: on_event(self.change(request, event)))


def with_engine_events(model: Bundle, change: Callable[[Request, Event], Event]) -> ASGIApp:
    """Return an app whose engine emits changed events."""
    return create_app([served_model(model, EventMutatingEngine(ReferenceEngine(model), change))])
