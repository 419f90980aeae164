"""prompt_cache_key, broken."""

from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex

from starlette.types import ASGIApp

from reference.bundle import Bundle
from reference.request import Event, PromptProcessed, Request, TokenGenerated
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    answering,
    asking,
    delivering,
    forgiving,
    whole,
    without,
)

NAME = "prompt_cache_key"


def told(model: Bundle, change: Callable[[str | None], object]) -> ASGIApp:
    """Another key is used."""
    return asking(whole(model), lambda b: b | {NAME: change(b.get(NAME))})


def saying(model: Bundle, cached: Callable[[Json], int]) -> ASGIApp:
    """Something else is said to have been cached, given the usage."""

    def change(answer: Json) -> Json:
        answer["usage"]["prompt_tokens_details"]["cached_tokens"] = cached(answer["usage"])
        return answer

    return answering(whole(model), change)


@mutant("prompt_cache_key/wrong-type-is-refused")
def any_type(model: Bundle) -> ASGIApp:
    """What is no string is dropped."""
    return forgiving(whole(model), NAME, lambda v: v is None or isinstance(v, str))


@mutant("prompt_cache_key/a-string-or-null-is-accepted")
def only_short(model: Bundle) -> ASGIApp:
    """A key of more than 64 characters is refused."""
    return told(model, lambda key: 5 if key is not None and len(key) > 64 else key)


@mutant("prompt_cache_key/a-hit-changes-nothing")
def no_rows_of_a_hit(model: Bundle) -> ASGIApp:
    """What was found in the cache has no log-probabilities."""

    def change(_: Request, event: Event) -> Event:
        if not isinstance(event, PromptProcessed) or event.prompt_logprobs is None:
            return event
        n = event.cached_tokens
        return replace(event, prompt_logprobs=(None,) * n + event.prompt_logprobs[n:])

    return delivering(model, change)


@mutant("prompt_cache_key/a-shared-beginning-changes-nothing")
def another_way_to_round(model: Bundle) -> ASGIApp:
    """After a hit the last digits are others."""
    hits: list[int] = []

    def change(_: Request, event: Event) -> Event:
        if isinstance(event, PromptProcessed):
            hits.append(event.cached_tokens)
        if not isinstance(event, TokenGenerated) or not hits[-1] or event.logprobs is None:
            return event
        logprob = event.logprobs.logprob * (1 + 2**-23)
        return replace(event, logprobs=replace(event.logprobs, logprob=logprob))

    return delivering(model, change)


@mutant("prompt_cache_key/nothing-is-cached-the-first-time")
def one_token_always(model: Bundle) -> ASGIApp:
    """The special token before every prompt counts as cached."""
    return saying(model, lambda usage: usage["prompt_tokens_details"]["cached_tokens"] or 1)


@mutant("prompt_cache_key/the-second-time-it-is", "prompt_cache_key/reuse-needs-no-key")
def never_said(model: Bundle) -> ASGIApp:
    """cached_tokens is always 0."""
    return saying(model, lambda usage: 0)


@mutant("prompt_cache_key/keys-do-not-share")
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped: all share."""
    return without(whole(model), NAME)


@mutant("prompt_cache_key/keys-do-not-share")
def first_character(model: Bundle) -> ASGIApp:
    """Keys that begin alike are one."""
    return told(model, lambda key: key[:16] if key else key)


@mutant("prompt_cache_key/reuse-needs-no-key")
def only_with_a_key(model: Bundle) -> ASGIApp:
    """Nothing is reused without a key."""
    return told(model, lambda key: key or token_hex(8))
