"""prompt_cache_key: names what later requests with the same key may reuse."""

from secrets import token_hex
from typing import Any

from conformance.assertions.basic import accepted, equal, refused, require, same_answer
from conformance.harness.capabilities import (
    CACHED_TOKENS,
    ECHOED_ROWS,
    LOGPROBS,
    SEEDS,
    has,
)
from conformance.harness.registry import consistency, protocol
from conformance.http.client import Server
from conformance.http.response import Answer
from conformance.verdicts import Evidence, Inconclusive, Level

STORY = (
    "there was a small house on a hill, and in it lived a dog and a cat who were good friends. "
    "One day the dog went to the market. He wanted to buy a red ball for the cat, but the man who "
    "had the balls was not there. So the dog sat down and waited, and after a long time it began "
    "to rain. Then he went home and told"
)


@protocol(Level.MUST, Evidence.EXACT)
def wrong_type_is_refused(server: Server) -> None:
    """What is no string is a 422 that names the field."""
    refused(server, "prompt_cache_key", [5, True, ["a"], {}])


@protocol(Level.MUST, Evidence.EXACT)
def a_string_or_null_is_accepted(server: Server) -> None:
    """Any string is accepted, and so is null."""
    accepted(server, "prompt_cache_key", ["a key", "ключ 🙂", "k" * 200, None])


def fresh() -> tuple[str, str]:
    """A long prompt and a key that nobody has sent before, nor an earlier run of these checks."""
    return f"{token_hex(8)}: {STORY}", f"key {token_hex(8)}"


def cached(answer: Answer) -> int:
    found = answer.cached_tokens
    require(found is not None, "cached_tokens", answer.usage, answer.at)
    return found or 0


def ways(server: Server) -> list[dict[str, Any]]:
    """Greedy, and with a seed; with all the log-probabilities that the server has."""
    rows: dict[str, Any] = {"logprobs": 3} if has(server, LOGPROBS) else {}
    both = rows | {"echo": True} if has(server, ECHOED_ROWS) else rows
    seeded = [{"temperature": 1, "seed": 5, **rows}] if has(server, SEEDS) else []
    return [{"temperature": 0, **both}, *seeded]


@consistency(Level.MUST, Evidence.METAMORPHIC)
def a_hit_changes_nothing(server: Server) -> None:
    """The second answer under a key is the first, to the bit, but for `cached_tokens`."""
    for fields in ways(server):
        prompt, key = fresh()
        asked = {"prompt": prompt, "max_tokens": 6, "prompt_cache_key": key, **fields}
        one, other = server.ask(**asked), server.ask(**asked)
        same_answer(one, other, "the answer to the first request")


@consistency(Level.MUST, Evidence.METAMORPHIC)
def a_shared_beginning_changes_nothing(server: Server) -> None:
    """A prompt whose beginning was read for another is answered as if it had not been, to the
    bit.
    """
    for fields in ways(server):
        prompt, key = fresh()
        asked = {"max_tokens": 6, "prompt": f"{prompt} the cat", **fields}
        server.ask(prompt=f"{prompt} his mother", max_tokens=1, prompt_cache_key=key)
        hit = server.ask(**asked, prompt_cache_key=key)
        cold = server.ask(**asked, prompt_cache_key=fresh()[1])
        same_answer(cold, hit, "the answer of a server that has read nothing")


@consistency(Level.MUST, Evidence.METAMORPHIC, CACHED_TOKENS)
def nothing_is_cached_the_first_time(server: Server) -> None:
    """`cached_tokens` is 0 for a prompt that nobody has sent before."""
    prompt, key = fresh()
    answer = server.ask(prompt=prompt, max_tokens=1, prompt_cache_key=key)
    equal(cached(answer), 0, "cached_tokens", answer.at)


@consistency(Level.SHOULD, Evidence.METAMORPHIC, CACHED_TOKENS)
def the_second_time_it_is(server: Server) -> None:
    """`cached_tokens` tells how much of a long prompt was read before under the same key."""
    prompt, key = fresh()
    asked = {"prompt": prompt, "max_tokens": 1, "prompt_cache_key": key}
    server.ask(**asked)
    answer = server.ask(**asked)
    within = 0 < cached(answer) <= answer.prompt_tokens
    require(within, f"1 to {answer.prompt_tokens} cached tokens", answer.usage, answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, CACHED_TOKENS)
def keys_do_not_share(server: Server) -> None:
    """What was read under one key is not there under another, nor without one."""
    prompt, key = fresh()
    asked = {"prompt": prompt, "max_tokens": 1}
    server.ask(**asked, prompt_cache_key=key)
    if not cached(server.ask(**asked, prompt_cache_key=key)):
        raise Inconclusive("nothing is reused under one key either")
    for other in key + " too", None:
        answer = server.ask(**asked, prompt_cache_key=other)
        equal(cached(answer), 0, "cached_tokens under another key", answer.at)


@consistency(Level.SHOULD, Evidence.METAMORPHIC, CACHED_TOKENS)
def reuse_needs_no_key(server: Server) -> None:
    """A prompt that was sent before without a key is reused, too."""
    prompt, _ = fresh()
    server.ask(prompt=prompt, max_tokens=1)
    answer = server.ask(prompt=prompt, max_tokens=1)
    require(cached(answer) > 0, "cached tokens", answer.usage, answer.at)
