"""max_tokens, broken."""

from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    answering,
    asking,
    each_choice,
    params,
    telling,
    whole,
)


@mutant("max_tokens/out-of-range-is-refused")
def clamped(model: Bundle) -> ASGIApp:
    """A value below 1 is 1."""

    def clamp(body: Json) -> Json:
        limit: Any = body.get("max_tokens")
        return body | ({"max_tokens": max(1, limit)} if isinstance(limit, int) else {})

    return asking(whole(model), clamp)


@mutant("max_tokens/wrong-types-are-refused")
def rounded(model: Bundle) -> ASGIApp:
    """A fraction is rounded."""

    def whole_number(body: Json) -> Json:
        limit: Any = body.get("max_tokens")
        return body | ({"max_tokens": int(limit)} if isinstance(limit, float) else {})

    return asking(whole(model), whole_number)


@mutant("max_tokens/so-many-and-no-more")
def one_more(model: Bundle) -> ASGIApp:
    """The token of the prompt's own step is not counted."""
    return telling(model, lambda r: params(r, max_tokens=(r.params.max_tokens or 100) + 1))


@mutant("max_tokens/fewer-are-the-beginning-of-more")
def dots(model: Bundle) -> ASGIApp:
    """A text that is cut off ends in dots."""

    def mark(choice: Json) -> None:
        choice["text"] += "…" if choice["finish_reason"] == "length" else ""

    return answering(whole(model), each_choice(mark))


@mutant("max_tokens/fewer-draw-what-more-draw")
def enters_the_draws(model: Bundle) -> ASGIApp:
    """All noise is drawn at once, in a shape that has the limit in it."""

    def shape(body: Json) -> Json:
        seed = body.get("seed")
        return body | ({} if seed is None else {"seed": seed + (body.get("max_tokens") or 0)})

    return asking(whole(model), shape)


@mutant("max_tokens/the-context-limits-it")
def refused(model: Bundle) -> ASGIApp:
    """Prompt and max_tokens together must not exceed the context."""

    def refuse(body: Json) -> Json:
        prompt, limit = body.get("prompt"), body.get("max_tokens") or 1
        too_many = isinstance(prompt, list) and len(prompt) + limit > model.context
        return body | ({"prompt": [5] * model.context} if too_many else {})

    return asking(whole(model), refuse)


@mutant("max_tokens/null-is-what-is-left")
def sixteen(model: Bundle) -> ASGIApp:
    """Without a limit it is 16."""
    return asking(whole(model), lambda b: b | {"max_tokens": b.get("max_tokens") or 16})
