"""Mutants of the checks of stop_token_ids."""

from collections.abc import Callable
from dataclasses import replace

from starlette.types import ASGIApp

from reference import logits as l
from reference.bundle import Bundle
from reference.request import Event, Request, TokenGenerated
from reference.sampler import SamplingHistory, final_logits
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import (
    Json,
    conforming_app,
    with_engine_events,
    with_engine_requests,
    with_logits_chain,
)
from tests.conformance.mutations.requests import broken_when, mutate_body
from tests.conformance.mutations.responses import each_choice, mutate_json


def with_stopped_choices(model: Bundle, change: Callable[[Json, Json], None]) -> ASGIApp:
    """Change each choice of an answer that a stop token ended, and the usage."""

    def changed(answer: Json) -> Json:
        for choice in answer["choices"]:
            if isinstance(choice["stop_reason"], int):
                change(choice, answer["usage"])
        return answer

    return mutate_json(conforming_app(model), changed)


@mutant("stop_token_ids/outside-vocabulary")
def unknown_ids_dropped(model: Bundle) -> ASGIApp:
    """Drop ids that are not in the vocabulary."""

    def change(body: Json) -> Json:
        ids = body.get("stop_token_ids") or []
        return body | {"stop_token_ids": [i for i in ids if 0 <= i < model.vocab_size]}

    return mutate_body(conforming_app(model), change)


@mutant("stop_token_ids/text-ends-before-token")
def token_in_text(model: Bundle) -> ASGIApp:
    """Keep the stop token in the text."""

    def change(_: Request, event: Event) -> Event:
        stopped = isinstance(event, TokenGenerated) and event.stop_reason is not None
        return replace(event, finish_reason="length") if stopped else event

    return with_engine_events(model, change)


@mutant("stop_token_ids/text-ends-before-token")
def first_id_only(model: Bundle) -> ASGIApp:
    """End the text only at the first id of the list."""
    return mutate_body(
        conforming_app(model),
        lambda b: (
            b | ({"stop_token_ids": b["stop_token_ids"][:1]} if "stop_token_ids" in b else {})
        ),
    )


@mutant("stop_token_ids/stop-reason-token-id")
def reason_as_string(model: Bundle) -> ASGIApp:
    """Report the id as a string in `stop_reason`."""

    def change(choice: Json, _: Json) -> None:
        choice["stop_reason"] = str(choice["stop_reason"])

    return with_stopped_choices(model, change)


@mutant("stop_token_ids/token-in-usage")
def token_not_counted(model: Bundle) -> ASGIApp:
    """Do not count the stop token."""

    def change(_: Json, usage: Json) -> None:
        usage["completion_tokens"] -= 1

    return with_stopped_choices(model, change)


@mutant("stop_token_ids/token-in-logprobs")
def entry_missing(model: Bundle) -> ASGIApp:
    """Leave out the entry of the stop token."""

    def change(choice: Json, _: Json) -> None:
        for column in (choice["logprobs"] or {}).values():
            column.pop()

    return with_stopped_choices(model, change)


@mutant("stop_token_ids/stop-over-length")
def length_over_stop(model: Bundle) -> ASGIApp:
    """Report the finish_reason length for small max_tokens, even after a stop token."""

    short = mutate_json(
        conforming_app(model), each_choice(lambda c: c.update(finish_reason="length"))
    )
    return broken_when(model, lambda b: b.get("stop_token_ids") and b["max_tokens"] < 8, short)


@mutant("stop_token_ids/absent-id-no-effect")
def ids_enter_seed(model: Bundle) -> ASGIApp:
    """Mix the ids into the seed."""
    return with_engine_requests(
        model, lambda r: replace(r, seed=r.seed + sum(r.params.stop_token_ids))
    )


@mutant("stop_token_ids/special-token-reachable")
def special_never_drawn(model: Bundle) -> ASGIApp:
    """Mask special tokens even if they are stop tokens."""
    ends = set(model.checkpoint.eos_token_ids)

    def final(x: l.Logits, h: SamplingHistory) -> l.Logits:
        allowed = h.allowed.copy()
        allowed[list(model.disallowed_token_ids - ends)] = False
        return final_logits(x, replace(h, allowed=allowed))

    return with_logits_chain(model, final)


@mutant("stop_token_ids/eos-over-stop-token")
def stop_token_over_eos(model: Bundle) -> ASGIApp:
    """Report an end-of-sequence token that is also a stop token as `stop_reason`."""

    def change(choice: Json) -> None:
        if choice["finish_reason"] == "stop":
            choice["stop_reason"] = 2

    broken = mutate_json(conforming_app(model), each_choice(change))
    return broken_when(model, lambda body: body.get("stop_token_ids"), broken)
