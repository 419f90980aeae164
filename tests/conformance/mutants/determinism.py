"""Mutants of the checks of determinism."""

import itertools
from collections.abc import Callable
from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.request import Request
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import (
    Json,
    RequestMutatingEngine,
    conforming_app,
    served_model,
)
from tests.conformance.mutations.requests import broken_when
from tests.conformance.mutations.responses import each_choice, mutate_json


def with_shifted_logprobs(app: ASGIApp, by: Callable[[], float]) -> ASGIApp:
    """Change the first log-probability of each choice slightly."""

    def change(choice: Json) -> None:
        if columns := choice.get("logprobs"):
            columns["token_logprobs"][0] += by()

    return mutate_json(app, each_choice(change))


@mutant("determinism/greedy-repeatable", "determinism/seeded-repeatable")
def last_bit_varies(model: Bundle) -> ASGIApp:
    """Sum in another order in each run, so that the last bits differ."""
    count = itertools.count()
    return with_shifted_logprobs(conforming_app(model), lambda: next(count) * 1e-7)


@mutant("determinism/greedy-batch-invariant", "determinism/seeded-batch-invariant")
def batch_dependent_kernel(model: Bundle) -> ASGIApp:
    """Compute the logits with another kernel under concurrent load, with other rounding."""
    exact, in_flight = conforming_app(model), 0
    inexact = with_shifted_logprobs(exact, lambda: 1e-6)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal in_flight
        in_flight += 1
        try:
            await (inexact if in_flight > 1 else exact)(scope, receive, send)
        finally:
            in_flight -= 1

    return app


@mutant("determinism/seeded-batch-invariant")
def shared_generator(model: Bundle) -> ASGIApp:
    """Make the draws depend on the number of requests in flight."""
    engine = ReferenceEngine(model)

    def change(request: Request) -> Request:
        stats = engine.stats()
        return replace(request, seed=request.seed + stats.running + stats.waiting)

    return create_app([served_model(model, RequestMutatingEngine(engine, change))])


@mutant("determinism/prompt-list-invariant")
def padded_prompt_list(model: Bundle) -> ASGIApp:
    """Pad the prompts of a list, which changes their log-probabilities slightly."""
    shifted = with_shifted_logprobs(conforming_app(model), lambda: 1e-6)
    return broken_when(model, lambda body: isinstance(body.get("prompt"), list), shifted)
