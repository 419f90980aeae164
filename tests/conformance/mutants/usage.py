"""Usage, broken."""

from collections.abc import Callable

from starlette.types import ASGIApp

from conformance.http.client import PROMPT
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import Json, answering, whole


def counting(model: Bundle, count: Callable[[Json, list[Json]], Json]) -> ASGIApp:
    """The usage of an answer, changed, given its choices; the total is right again."""

    def changed(answer: Json) -> Json:
        usage = answer["usage"] | count(answer["usage"], answer["choices"])
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        return answer | {"usage": usage}

    return answering(whole(model), changed)


@mutant("usage/total-is-the-sum")
def one_token_less(model: Bundle) -> ASGIApp:
    """prompt_tokens leaves out the first token, and the total counts it."""

    def changed(answer: Json) -> Json:
        answer["usage"]["prompt_tokens"] -= 1
        return answer

    return answering(whole(model), changed)


@mutant("usage/says-what-was-cached")
def whole_blocks(model: Bundle) -> ASGIApp:
    """What is cached is counted in whole blocks, rounded up."""
    return counting(model, lambda u, c: {"prompt_tokens_details": {"cached_tokens": 32}})


@mutant("usage/a-cached-prompt-counts-in-full")
def only_what_was_read(model: Bundle) -> ASGIApp:
    """prompt_tokens leaves out what was cached."""

    def read(usage: Json, choices: list[Json]) -> Json:
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        return {"prompt_tokens": usage["prompt_tokens"] - cached}

    return counting(model, read)


@mutant("usage/a-prompt-counts-once")
def once_for_each_choice(model: Bundle) -> ASGIApp:
    """The prompt counts once for each choice."""
    return counting(model, lambda u, c: {"prompt_tokens": u["prompt_tokens"] * len(c)})


@mutant("usage/choices-are-summed")
def one_choice(model: Bundle) -> ASGIApp:
    """The completion is one choice's."""
    return counting(model, lambda u, c: {"completion_tokens": u["completion_tokens"] // len(c)})


@mutant("usage/counts-each-row")
def without_the_stop(model: Bundle) -> ASGIApp:
    """The last token does not count if a stop ended the text."""

    def count(usage: Json, choices: list[Json]) -> Json:
        stopped = sum(c["finish_reason"] == "stop" for c in choices)
        return {"completion_tokens": usage["completion_tokens"] - stopped}

    return counting(model, count)


@mutant("usage/prompts-are-summed")
def one_prompt(model: Bundle) -> ASGIApp:
    """Of a list each prompt after the first counts two tokens less."""

    def count(usage: Json, choices: list[Json]) -> Json:
        return {"prompt_tokens": usage["prompt_tokens"] - 2 * (len(choices) - 1)}

    return counting(model, count)


@mutant("usage/an-echo-costs-nothing")
def an_echo_costs(model: Bundle) -> ASGIApp:
    """An echoed prompt counts as completion, too."""

    def count(usage: Json, choices: list[Json]) -> Json:
        echoed = usage["prompt_tokens"] if choices[0]["text"].startswith(PROMPT) else 0
        return {"completion_tokens": usage["completion_tokens"] + echoed}

    return counting(model, count)
