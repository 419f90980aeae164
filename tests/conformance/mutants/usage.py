"""Mutants of the checks of usage."""

from collections.abc import Callable

from starlette.types import ASGIApp

from conformance.http.client import PROMPT
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.responses import mutate_json


def with_usage(model: Bundle, count: Callable[[Json, list[Json]], Json]) -> ASGIApp:
    """Change the usage of an answer, given its choices; the total stays the sum."""

    def changed(answer: Json) -> Json:
        usage = answer["usage"] | count(answer["usage"], answer["choices"])
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        return answer | {"usage": usage}

    return mutate_json(conforming_app(model), changed)


@mutant("usage/total-equals-sum")
def first_token_missing(model: Bundle) -> ASGIApp:
    """Leave the first token out of prompt_tokens, but count it in the total."""

    def changed(answer: Json) -> Json:
        answer["usage"]["prompt_tokens"] -= 1
        return answer

    return mutate_json(conforming_app(model), changed)


@mutant("usage/cached-tokens-reported")
def rounded_up_to_blocks(model: Bundle) -> ASGIApp:
    """Count cached tokens in whole blocks, rounded up."""
    return with_usage(model, lambda u, c: {"prompt_tokens_details": {"cached_tokens": 32}})


@mutant("usage/cached-prompt-counted")
def cached_not_counted(model: Bundle) -> ASGIApp:
    """Leave cached tokens out of prompt_tokens."""

    def count(usage: Json, choices: list[Json]) -> Json:
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        return {"prompt_tokens": usage["prompt_tokens"] - cached}

    return with_usage(model, count)


@mutant("usage/prompt-counted-once")
def prompt_per_choice(model: Bundle) -> ASGIApp:
    """Count the prompt once per choice."""
    return with_usage(model, lambda u, c: {"prompt_tokens": u["prompt_tokens"] * len(c)})


@mutant("usage/choices-summed")
def single_choice(model: Bundle) -> ASGIApp:
    """Count the completion tokens of one choice only."""
    return with_usage(model, lambda u, c: {"completion_tokens": u["completion_tokens"] // len(c)})


@mutant("usage/equals-logprobs-entries")
def stop_not_counted(model: Bundle) -> ASGIApp:
    """Do not count the last token if a stop string ended the text."""

    def count(usage: Json, choices: list[Json]) -> Json:
        stopped = sum(c["finish_reason"] == "stop" for c in choices)
        return {"completion_tokens": usage["completion_tokens"] - stopped}

    return with_usage(model, count)


@mutant("usage/prompts-summed")
def later_prompts_undercounted(model: Bundle) -> ASGIApp:
    """Count two tokens less for each prompt of a list after the first."""

    def count(usage: Json, choices: list[Json]) -> Json:
        return {"prompt_tokens": usage["prompt_tokens"] - 2 * (len(choices) - 1)}

    return with_usage(model, count)


@mutant("usage/echo-not-counted")
def echo_counted(model: Bundle) -> ASGIApp:
    """Count an echoed prompt as completion."""

    def count(usage: Json, choices: list[Json]) -> Json:
        echoed = usage["prompt_tokens"] if choices[0]["text"].startswith(PROMPT) else 0
        return {"completion_tokens": usage["completion_tokens"] + echoed}

    return with_usage(model, count)
