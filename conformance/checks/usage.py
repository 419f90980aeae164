"""What an answer says that it cost."""

from typing import Any

from conformance.assertions.basic import equal, require
from conformance.harness.capabilities import ECHO, LOGPROBS, PROMPT_LISTS, SEVERAL, has
from conformance.harness.registry import consistency, protocol
from conformance.http.client import PROMPT, Server
from conformance.http.response import Answer
from conformance.verdicts import Evidence, Inconclusive, Level

RESTS_ON = "output_text.StreamedChoice"


@protocol(Level.MUST, Evidence.EXACT)
def total_is_the_sum(server: Server) -> None:
    """total_tokens is prompt_tokens and completion_tokens together."""
    for count in 1, 5:
        answer = server.ask(max_tokens=count)
        prompt, completion = answer.prompt_tokens, answer.completion_tokens
        require(prompt > 0 and completion > 0, "counts above 0", answer.usage, answer.at)
        equal(answer.usage.get("total_tokens"), prompt + completion, "total_tokens", answer.at)


@protocol(Level.MUST, Evidence.EXACT)
def says_what_was_cached(server: Server) -> None:
    """prompt_tokens_details.cached_tokens is there, and is no more than the prompt has."""
    for _ in range(2):
        answer = server.ask(prompt=f"{PROMPT} there was a house on a hill, and in it")
        details, cached = answer.usage.get("prompt_tokens_details"), answer.cached_tokens
        require(type(cached) is int, "prompt_tokens_details.cached_tokens", details, answer.at)
        within = cached is not None and 0 <= cached <= answer.prompt_tokens
        require(within, f"0 to {answer.prompt_tokens} cached tokens", cached, answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def a_cached_prompt_counts_in_full(server: Server) -> None:
    """prompt_tokens is the same whether the prompt has been read before or not."""
    prompt = f"{server.rng.getrandbits(60):x} " * 6
    counts = [server.ask(prompt=prompt, max_tokens=1).prompt_tokens for _ in range(3)]
    require(len(set(counts)) == 1, f"{counts[0]} prompt tokens each time", counts, server.last)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEVERAL)
def a_prompt_counts_once(server: Server) -> None:
    """prompt_tokens does not depend on n."""
    one, three = server.ask(max_tokens=1), server.ask(max_tokens=1, n=3, temperature=1)
    equal(three.prompt_tokens, one.prompt_tokens, "prompt_tokens with n 3", three.at)
    if (cached := three.cached_tokens) is not None:
        require(cached <= one.prompt_tokens, "no more cached than read", three.usage, three.at)


@consistency(Level.MUST, Evidence.EXACT, SEVERAL)
def choices_are_summed(server: Server) -> None:
    """completion_tokens is the sum over all choices."""
    rows = {"logprobs": 1} if has(server, LOGPROBS) else {}
    answer = server.ask(n=3, max_tokens=5, temperature=1, seed=3, **rows)
    equal(answer.completion_tokens, generated(answer, 5), "completion_tokens", answer.at)


def generated(answer: Answer, limit: int) -> int:
    """How many tokens the choices have: by their rows, or by the limit if each came to it."""
    choices = answer.choices
    if all(c.json.get("logprobs") for c in choices):
        return sum(len(c.rows.tokens) for c in choices)
    if all(c.finish_reason == "length" for c in choices):
        return limit * len(choices)
    raise Inconclusive("without logprobs the tokens of a text that ended cannot be counted")


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def counts_each_row(server: Server) -> None:
    """completion_tokens is the number of rows in logprobs: each token has one."""
    for fields in examples(server):
        answer = server.ask(logprobs=1, **fields)
        equal(answer.completion_tokens, generated(answer, 0), "completion_tokens", answer.at)


def examples(server: Server) -> list[dict[str, Any]]:
    """Texts of several lengths, and one that ends at a stop string."""
    text = server.ask(max_tokens=8).text
    stop = {"stop": [text[2:4]]} if len(text) > 6 else {}
    return [{"max_tokens": 1}, {"max_tokens": 7}, {"max_tokens": 8, **stop}]


@consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS)
def prompts_are_summed(server: Server) -> None:
    """Of a list of prompts each counts: prompt_tokens and completion_tokens are sums."""
    prompts = [PROMPT, "The", f"{PROMPT} there was a"]
    alone = [server.ask(prompt=p, max_tokens=3) for p in prompts]
    answer = server.ask(prompt=prompts, max_tokens=3)
    total = sum(a.prompt_tokens for a in alone), sum(a.completion_tokens for a in alone)
    seen = answer.prompt_tokens, answer.completion_tokens
    equal(seen, total, "prompt_tokens and completion_tokens", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, ECHO)
def an_echo_costs_nothing(server: Server) -> None:
    """What echo repeats is no completion: the counts are those of the same request without it."""
    plain, echoed = server.ask(max_tokens=4), server.ask(max_tokens=4, echo=True)
    seen = echoed.prompt_tokens, echoed.completion_tokens
    expected = plain.prompt_tokens, plain.completion_tokens
    equal(seen, expected, "prompt_tokens and completion_tokens", echoed.at)
