"""usage: the token counts of a response."""

from typing import Any

from conformance.assertions.basic import assert_equal, assert_that
from conformance.harness.capabilities import ECHO, LOGPROBS, MULTIPLE_CHOICES, PROMPT_LISTS, has
from conformance.harness.registry import CheckGroup
from conformance.http.client import PROMPT, Server
from conformance.http.response import Completion
from conformance.verdicts import Evidence, Inconclusive, Level

checks = CheckGroup("usage", spec="output_text.StreamedChoice")


@checks.protocol(Level.MUST, Evidence.EXACT)
def total_equals_sum(server: Server) -> None:
    """total_tokens is the sum of prompt_tokens and completion_tokens."""
    for count in 1, 5:
        answer = server.complete(max_tokens=count)
        prompt, completion = answer.prompt_tokens, answer.completion_tokens
        assert_that(prompt > 0 and completion > 0, "counts above 0", answer.usage, answer.at)
        assert_equal(
            answer.usage.get("total_tokens"), prompt + completion, "total_tokens", answer.at
        )


@checks.protocol(Level.MUST, Evidence.EXACT)
def cached_tokens_reported(server: Server) -> None:
    """prompt_tokens_details.cached_tokens is a number, at most prompt_tokens."""
    for _ in range(2):
        answer = server.complete(prompt=f"{PROMPT} there was a house on a hill, and in it")
        details, cached = answer.usage.get("prompt_tokens_details"), answer.cached_tokens
        assert_that(type(cached) is int, "prompt_tokens_details.cached_tokens", details, answer.at)
        valid = cached is not None and 0 <= cached <= answer.prompt_tokens
        assert_that(valid, f"0 to {answer.prompt_tokens} cached tokens", cached, answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def cached_prompt_counted(server: Server) -> None:
    """prompt_tokens is the same on a cache miss and on a cache hit."""
    prompt = f"{server.rng.getrandbits(60):x} " * 6
    counts = [server.complete(prompt=prompt, max_tokens=1).prompt_tokens for _ in range(3)]
    assert_that(len(set(counts)) == 1, f"{counts[0]} prompt tokens each time", counts, server.last)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, MULTIPLE_CHOICES)
def prompt_counted_once(server: Server) -> None:
    """prompt_tokens does not depend on n."""
    single, triple = (
        server.complete(max_tokens=1),
        server.complete(max_tokens=1, n=3, temperature=1),
    )
    assert_equal(triple.prompt_tokens, single.prompt_tokens, "prompt_tokens with n 3", triple.at)
    if (cached := triple.cached_tokens) is not None:
        valid = cached <= single.prompt_tokens
        assert_that(valid, "no more cached tokens than prompt tokens", triple.usage, triple.at)


@checks.consistency(Level.MUST, Evidence.EXACT, MULTIPLE_CHOICES)
def choices_summed(server: Server) -> None:
    """completion_tokens is the sum over all choices."""
    logprobs = {"logprobs": 1} if has(server, LOGPROBS) else {}
    answer = server.complete(n=3, max_tokens=5, temperature=1, seed=3, **logprobs)
    assert_equal(answer.completion_tokens, num_generated(answer, 5), "completion_tokens", answer.at)


def num_generated(answer: Completion, limit: int) -> int:
    """Count the tokens of the choices by their logprobs, or by the limit if each reached it."""
    choices = answer.choices
    if all(c.json.get("logprobs") for c in choices):
        return sum(len(c.logprobs.tokens) for c in choices)
    if all(c.finish_reason == "length" for c in choices):
        return limit * len(choices)
    raise Inconclusive("without logprobs the tokens of a text that ended cannot be counted")


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def equals_logprobs_entries(server: Server) -> None:
    """completion_tokens is the number of entries in logprobs."""
    for fields in examples(server):
        answer = server.complete(logprobs=1, **fields)
        assert_equal(
            answer.completion_tokens, num_generated(answer, 0), "completion_tokens", answer.at
        )


def examples(server: Server) -> list[dict[str, Any]]:
    """Return requests for texts of several lengths, and for one that ends at a stop string."""
    text = server.complete(max_tokens=8).text
    stop = {"stop": [text[2:4]]} if len(text) > 6 else {}
    return [{"max_tokens": 1}, {"max_tokens": 7}, {"max_tokens": 8, **stop}]


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS)
def prompts_summed(server: Server) -> None:
    """For a list of prompts, prompt_tokens and completion_tokens are sums over the prompts."""
    prompts = [PROMPT, "The", f"{PROMPT} there was a"]
    singles = [server.complete(prompt=p, max_tokens=3) for p in prompts]
    answer = server.complete(prompt=prompts, max_tokens=3)
    total = sum(a.prompt_tokens for a in singles), sum(a.completion_tokens for a in singles)
    seen = answer.prompt_tokens, answer.completion_tokens
    assert_equal(seen, total, "prompt_tokens and completion_tokens", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, ECHO)
def echo_not_counted(server: Server) -> None:
    """An echoed prompt does not count as completion: the counts are those without echo."""
    plain, echoed = server.complete(max_tokens=4), server.complete(max_tokens=4, echo=True)
    seen = echoed.prompt_tokens, echoed.completion_tokens
    expected = plain.prompt_tokens, plain.completion_tokens
    assert_equal(seen, expected, "prompt_tokens and completion_tokens", echoed.at)
