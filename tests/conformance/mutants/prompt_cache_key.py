"""Mutants of prompt_cache_key."""

from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex

from starlette.types import ASGIApp

from reference.bundle import Bundle
from reference.request import Event, PromptProcessed, Request, TokenGenerated
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app, with_engine_events
from tests.conformance.mutations.requests import drop_fields, mutate_body
from tests.conformance.mutations.responses import mutate_json

NAME = "prompt_cache_key"


def with_key(model: Bundle, change: Callable[[str | None], object]) -> ASGIApp:
    """Change the key of each request."""
    return mutate_body(conforming_app(model), lambda b: b | {NAME: change(b.get(NAME))})


def with_cached_tokens(model: Bundle, count: Callable[[Json], int]) -> ASGIApp:
    """Report another number of cached tokens, given the usage."""

    def change(answer: Json) -> Json:
        answer["usage"]["prompt_tokens_details"]["cached_tokens"] = count(answer["usage"])
        return answer

    return mutate_json(conforming_app(model), change)


@mutant("prompt_cache_key/hit-bitwise-equal")
def hit_without_prompt_logprobs(model: Bundle) -> ASGIApp:
    """Report no log-probabilities for cached tokens."""

    def change(_: Request, event: Event) -> Event:
        if not isinstance(event, PromptProcessed) or event.prompt_logprobs is None:
            return event
        n = event.cached_tokens
        return replace(event, prompt_logprobs=(None,) * n + event.prompt_logprobs[n:])

    return with_engine_events(model, change)


@mutant("prompt_cache_key/shared-prefix-bitwise-equal")
def hit_changes_last_digit(model: Bundle) -> ASGIApp:
    """Change the last digit of log-probabilities after a hit."""
    hits: list[int] = []

    def change(_: Request, event: Event) -> Event:
        if isinstance(event, PromptProcessed):
            hits.append(event.cached_tokens)
        if not isinstance(event, TokenGenerated) or not hits[-1] or event.logprobs is None:
            return event
        logprob = event.logprobs.logprob * (1 + 2**-23)
        return replace(event, logprobs=replace(event.logprobs, logprob=logprob))

    return with_engine_events(model, change)


@mutant("prompt_cache_key/first-request-uncached")
def bos_counted_as_cached(model: Bundle) -> ASGIApp:
    """Count the BOS token of every prompt as cached."""
    return with_cached_tokens(
        model, lambda usage: usage["prompt_tokens_details"]["cached_tokens"] or 1
    )


@mutant("prompt_cache_key/hit-reported", "prompt_cache_key/null-key-cached")
def cached_tokens_always_zero(model: Bundle) -> ASGIApp:
    """Report 0 cached tokens in every response."""
    return with_cached_tokens(model, lambda usage: 0)


@mutant("prompt_cache_key/keys-isolated")
def key_ignored(model: Bundle) -> ASGIApp:
    """Ignore the key: all requests share one cache."""
    return drop_fields(conforming_app(model), NAME)


@mutant("prompt_cache_key/keys-isolated")
def key_prefix_only(model: Bundle) -> ASGIApp:
    """Use only the first 16 characters of a key."""
    return with_key(model, lambda key: key[:16] if key else key)


@mutant("prompt_cache_key/null-key-cached")
def no_cache_without_key(model: Bundle) -> ASGIApp:
    """Reuse no prefix of requests without a key."""
    return with_key(model, lambda key: key or token_hex(8))
