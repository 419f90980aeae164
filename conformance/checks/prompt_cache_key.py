"""prompt_cache_key: the cache namespace whose prefixes later requests with the same key reuse."""

from conformance.assertions.basic import assert_equal, assert_same_completion, assert_that
from conformance.assertions.prefix_cache import (
    reported_cached_tokens,
    sampling_variants,
    uncached_prompt,
)
from conformance.harness.capabilities import CACHED_TOKENS
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.verdicts import Evidence, Inconclusive, Level

checks = CheckGroup("prompt_cache_key")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def hit_bitwise_equal(server: Server) -> None:
    """The second answer under a key is bitwise equal to the first, except for `cached_tokens`."""
    for fields in sampling_variants(server):
        prompt, key = uncached_prompt()
        request = {"prompt": prompt, "max_tokens": 6, "prompt_cache_key": key, **fields}
        first, second = server.complete(**request), server.complete(**request)
        assert_same_completion(first, second, "the answer to the first request")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def shared_prefix_bitwise_equal(server: Server) -> None:
    """The answer to a prompt whose prefix is cached is bitwise equal to the answer without a cached
    prefix.
    """
    for fields in sampling_variants(server):
        prompt, key = uncached_prompt()
        request = {"max_tokens": 6, "prompt": f"{prompt} the cat", **fields}
        server.complete(prompt=f"{prompt} his mother", max_tokens=1, prompt_cache_key=key)
        hit = server.complete(**request, prompt_cache_key=key)
        miss = server.complete(**request, prompt_cache_key=uncached_prompt()[1])
        assert_same_completion(miss, hit, "the answer without a cached prefix")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, CACHED_TOKENS)
def first_request_uncached(server: Server) -> None:
    """`cached_tokens` is 0 for a prompt that no client has sent before."""
    prompt, key = uncached_prompt()
    answer = server.complete(prompt=prompt, max_tokens=1, prompt_cache_key=key)
    assert_equal(reported_cached_tokens(answer), 0, "cached_tokens", answer.at)


@checks.consistency(Level.SHOULD, Evidence.METAMORPHIC, CACHED_TOKENS)
def hit_reported(server: Server) -> None:
    """`cached_tokens` reports how much of a long prompt was reused from an earlier request with the
    same key.
    """
    prompt, key = uncached_prompt()
    request = {"prompt": prompt, "max_tokens": 1, "prompt_cache_key": key}
    server.complete(**request)
    answer = server.complete(**request)
    in_range = 0 < reported_cached_tokens(answer) <= answer.prompt_tokens
    assert_that(in_range, f"1 to {answer.prompt_tokens} cached tokens", answer.usage, answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, CACHED_TOKENS)
def keys_isolated(server: Server) -> None:
    """A prompt cached under one key is not reused under another key, nor without a key."""
    prompt, key = uncached_prompt()
    request = {"prompt": prompt, "max_tokens": 1}
    server.complete(**request, prompt_cache_key=key)
    if not reported_cached_tokens(server.complete(**request, prompt_cache_key=key)):
        raise Inconclusive("no tokens are reused under the same key either")
    for other_key in key + " too", None:
        answer = server.complete(**request, prompt_cache_key=other_key)
        cached = reported_cached_tokens(answer)
        assert_equal(cached, 0, "cached_tokens under another key", answer.at)


@checks.consistency(Level.SHOULD, Evidence.METAMORPHIC, CACHED_TOKENS)
def null_key_cached(server: Server) -> None:
    """A prompt that was sent before without a key is reused, too."""
    prompt, _ = uncached_prompt()
    server.complete(prompt=prompt, max_tokens=1)
    answer = server.complete(prompt=prompt, max_tokens=1)
    assert_that(reported_cached_tokens(answer) > 0, "cached tokens", answer.usage, answer.at)
