"""Mutants of the checks of max_tokens."""

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import (
    Json,
    conforming_app,
    with_engine_requests,
    with_params,
)
from tests.conformance.mutations.requests import mutate_body
from tests.conformance.mutations.responses import each_choice, mutate_json


@mutant("max_tokens/exact-limit")
def one_more(model: Bundle) -> ASGIApp:
    """Do not count the token of the prefill step."""
    return with_engine_requests(
        model, lambda r: with_params(r, max_tokens=(r.params.max_tokens or 100) + 1)
    )


@mutant("max_tokens/greedy-prefix")
def ellipsis_appended(model: Bundle) -> ASGIApp:
    """End a truncated text with an ellipsis."""

    def mark(choice: Json) -> None:
        choice["text"] += "…" if choice["finish_reason"] == "length" else ""

    return mutate_json(conforming_app(model), each_choice(mark))


@mutant("max_tokens/seeded-prefix")
def limit_enters_seed(model: Bundle) -> ASGIApp:
    """Draw all noise at once, in a shape that depends on the limit."""

    def mix(body: Json) -> Json:
        seed = body.get("seed")
        return body | ({} if seed is None else {"seed": seed + (body.get("max_tokens") or 0)})

    return mutate_body(conforming_app(model), mix)


@mutant("max_tokens/clamped-to-context")
def above_context_refused(model: Bundle) -> ASGIApp:
    """Refuse a prompt and max_tokens that together exceed the context."""

    def refuse(body: Json) -> Json:
        prompt, limit = body.get("prompt"), body.get("max_tokens") or 1
        too_many = isinstance(prompt, list) and len(prompt) + limit > model.context
        return body | ({"prompt": [5] * model.context} if too_many else {})

    return mutate_body(conforming_app(model), refuse)


@mutant("max_tokens/null-fills-context")
def default_sixteen(model: Bundle) -> ASGIApp:
    """Use 16 if there is no limit."""
    return mutate_body(
        conforming_app(model), lambda b: b | {"max_tokens": b.get("max_tokens") or 16}
    )
