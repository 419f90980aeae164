"""What stays the same, broken."""

import itertools
from collections.abc import Callable
from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.request import Request
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    Telling,
    answering,
    each_choice,
    served,
    sometimes,
    whole,
)


def shifted(app: ASGIApp, by: Callable[[], float]) -> ASGIApp:
    """The first log-probability of each choice is off by a little."""

    def change(choice: Json) -> None:
        if rows := choice.get("logprobs"):
            rows["token_logprobs"][0] += by()

    return answering(app, each_choice(change))


@mutant("determinism/a-greedy-request-twice", "determinism/a-seeded-request-twice")
def the_last_bit(model: Bundle) -> ASGIApp:
    """Sums are added up in another order each time, so that the last bits differ."""
    count = itertools.count()
    return shifted(whole(model), lambda: next(count) * 1e-7)


@mutant("determinism/a-greedy-request-in-a-crowd", "determinism/a-seeded-request-in-a-crowd")
def the_crowd_is_heard(model: Bundle) -> ASGIApp:
    """Among others a row is computed by another kernel, that rounds in another way."""
    inside, busy = whole(model), 0
    other = shifted(inside, lambda: 1e-6)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal busy
        busy += 1
        try:
            await (other if busy > 1 else inside)(scope, receive, send)
        finally:
            busy -= 1

    return app


@mutant("determinism/a-seeded-request-in-a-crowd")
def one_generator(model: Bundle) -> ASGIApp:
    """Chance depends on how many requests have come since the last was answered."""
    engine = ReferenceEngine(model)

    def change(request: Request) -> Request:
        stats = engine.stats()
        return replace(request, seed=request.seed + stats.running + stats.waiting)

    return create_app([served(model, Telling(engine, change))])


@mutant("determinism/a-prompt-in-a-list")
def padded(model: Bundle) -> ASGIApp:
    """Prompts of a list are padded to one length, which moves their log-probabilities a little."""
    listed = shifted(whole(model), lambda: 1e-6)
    return sometimes(model, lambda body: isinstance(body.get("prompt"), list), listed)
