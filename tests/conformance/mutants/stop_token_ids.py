"""stop_token_ids, broken."""

from collections.abc import Callable
from dataclasses import replace

from starlette.types import ASGIApp

from reference import logits as l
from reference.bundle import Bundle
from reference.request import Event, Request, TokenGenerated
from reference.sampler import SamplingHistory, final_logits
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    answering,
    asking,
    delivering,
    each_choice,
    forgiving,
    sometimes,
    steps,
    telling,
    whole,
)


def if_stopped(model: Bundle, change: Callable[[Json, Json], None]) -> ASGIApp:
    """Each choice of a whole answer that an id ended is changed, given the usage too."""

    def changed(answer: Json) -> Json:
        for choice in answer["choices"]:
            if isinstance(choice["stop_reason"], int):
                change(choice, answer["usage"])
        return answer

    return answering(whole(model), changed)


@mutant("stop_token_ids/outside-the-vocabulary-is-refused")
def unknown_dropped(model: Bundle) -> ASGIApp:
    """Ids that the model does not have are dropped."""

    def change(body: Json) -> Json:
        ids = body.get("stop_token_ids") or []
        return body | {"stop_token_ids": [i for i in ids if 0 <= i < model.vocab_size]}

    return asking(whole(model), change)


@mutant("stop_token_ids/wrong-type-is-refused")
def any_type(model: Bundle) -> ASGIApp:
    """What is no list of integers is dropped."""
    return forgiving(
        whole(model),
        "stop_token_ids",
        lambda v: v is None or (isinstance(v, list) and all(type(i) is int for i in v)),
    )


@mutant("stop_token_ids/a-list-or-null-is-accepted")
def empty_is_refused(model: Bundle) -> ASGIApp:
    """An empty list is refused."""
    return asking(
        whole(model),
        lambda b: b | ({"stop_token_ids": 5} if b.get("stop_token_ids") == [] else {}),
    )


@mutant("stop_token_ids/the-text-ends-before-the-token")
def token_in_the_text(model: Bundle) -> ASGIApp:
    """The stop token is written."""

    def change(_: Request, event: Event) -> Event:
        stopped = isinstance(event, TokenGenerated) and event.stop_reason is not None
        return replace(event, finish_reason="length") if stopped else event

    return delivering(model, change)


@mutant("stop_token_ids/the-text-ends-before-the-token")
def only_the_first(model: Bundle) -> ASGIApp:
    """Only the first id of the list ends the text."""
    return asking(
        whole(model),
        lambda b: (
            b | ({"stop_token_ids": b["stop_token_ids"][:1]} if "stop_token_ids" in b else {})
        ),
    )


@mutant("stop_token_ids/the-reason-is-the-id")
def reason_as_text(model: Bundle) -> ASGIApp:
    """`stop_reason` is the id's digits, a string."""

    def change(choice: Json, _: Json) -> None:
        choice["stop_reason"] = str(choice["stop_reason"])

    return if_stopped(model, change)


@mutant("stop_token_ids/the-token-is-counted")
def not_counted(model: Bundle) -> ASGIApp:
    """The stop token is not counted."""

    def change(_: Json, usage: Json) -> None:
        usage["completion_tokens"] -= 1

    return if_stopped(model, change)


@mutant("stop_token_ids/the-token-has-a-row")
def no_row(model: Bundle) -> ASGIApp:
    """The stop token has no row."""

    def change(choice: Json, _: Json) -> None:
        for column in (choice["logprobs"] or {}).values():
            column.pop()

    return if_stopped(model, change)


@mutant("stop_token_ids/on-the-last-token-stop-beats-length")
def length_first(model: Bundle) -> ASGIApp:
    """If fewer tokens were allowed than a text has, the reason is length."""

    short = answering(whole(model), each_choice(lambda c: c.update(finish_reason="length")))
    return sometimes(model, lambda b: b.get("stop_token_ids") and b["max_tokens"] < 8, short)


@mutant("stop_token_ids/an-id-that-does-not-come-changes-nothing")
def other_chance(model: Bundle) -> ASGIApp:
    """The ids enter the seed."""
    return telling(model, lambda r: replace(r, seed=r.seed + sum(r.params.stop_token_ids)))


@mutant("stop_token_ids/a-special-token-stays-within-reach")
def special_never_drawn(model: Bundle) -> ASGIApp:
    """Special tokens are never drawn, though they were asked to stop the text."""
    ends = set(model.checkpoint.eos_token_ids)

    def final(x: l.Logits, h: SamplingHistory) -> l.Logits:
        allowed = h.allowed.copy()
        allowed[list(model.never - ends)] = False
        return final_logits(x, replace(h, allowed=allowed))

    return steps(model, final)


@mutant("stop_token_ids/end-of-sequence-comes-before-a-stop-token")
def stop_token_first(model: Bundle) -> ASGIApp:
    """An end-of-sequence that is a stop token, too, is the reason."""

    def change(choice: Json) -> None:
        if choice["finish_reason"] == "stop":
            choice["stop_reason"] = 2

    broken = answering(whole(model), each_choice(change))
    return sometimes(model, lambda body: body.get("stop_token_ids"), broken)
