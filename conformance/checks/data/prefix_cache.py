"""The prefix cache: two prompts share a prefix only if their images are equal, too."""

from typing import Any

from conformance.assertions.basic import assert_same_completion, assert_that
from conformance.assertions.images import image_data
from conformance.assertions.prefix_cache import (
    reported_cached_tokens,
    sampling_variants,
    uncached_prompt,
)
from conformance.fixtures.images import PLACEHOLDER, mosaic_uri
from conformance.harness.capabilities import CACHED_TOKENS, VISION
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.verdicts import Evidence, Inconclusive, Level

checks = CheckGroup("data", spec="prefix_cache.block_hashes")


def uncached_request(template: str = "{image} {text}", **fields: Any) -> dict[str, Any]:
    """Return a request with a long prompt and a cache key that no client has used before.

    template: where in the prompt the image and the text are.
    """
    text, key = uncached_prompt()
    prompt = template.format(image=PLACEHOLDER, text=text)
    return {"max_tokens": 6, "prompt": prompt, "prompt_cache_key": key, **fields}


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION)
def image_hit_bitwise_equal(server: Server) -> None:
    """The second answer to a prompt with an image is bitwise equal to the first, except for
    `cached_tokens`.
    """
    for fields in sampling_variants(server):
        request = uncached_request(**fields) | image_data(mosaic_uri(0))
        first, second = (server.complete(**request) for _ in range(2))
        assert_same_completion(first, second, "the answer to the first request")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION)
def cache_keyed_by_image(server: Server) -> None:
    """A prompt that is cached with one image is answered with another image bitwise as if it were
    not cached.
    """
    for fields in sampling_variants(server):
        request = uncached_request(**fields)
        server.complete(**request, **image_data(mosaic_uri(0)))
        other_image = server.complete(**request, **image_data(mosaic_uri(1)))
        other_key = {"prompt_cache_key": uncached_prompt()[1]}
        miss = server.complete(**request | other_key, **image_data(mosaic_uri(1)))
        assert_same_completion(miss, other_image, "the answer without a cached prefix")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION, CACHED_TOKENS)
def shared_prefix_before_image(server: Server) -> None:
    """With another image, `cached_tokens` is at most the number of tokens before the image; with
    the same image it may be more.
    """
    image_reused = False
    for template in "{image} {text}", "{text} {image} {text}":
        request = uncached_request(template, max_tokens=1)
        head = request["prompt"].partition(PLACEHOLDER)[0]
        limit = server.complete(prompt=head, max_tokens=1).prompt_tokens if head else 1
        server.complete(**request, **image_data(mosaic_uri(0)))
        other_image = server.complete(**request, **image_data(mosaic_uri(1)))
        cached = reported_cached_tokens(other_image)
        assert_that(cached <= limit, f"at most {limit} cached tokens", cached, other_image.at)
        if not image_reused:
            same_image = server.complete(**request, **image_data(mosaic_uri(0)))
            image_reused = reported_cached_tokens(same_image) > limit
    if not image_reused:
        raise Inconclusive("no image tokens are reused with the same image either")


@checks.consistency(Level.SHOULD, Evidence.METAMORPHIC, VISION, CACHED_TOKENS)
def image_hit_reported(server: Server) -> None:
    """`cached_tokens` reports how much of a long prompt that begins with an image was reused."""
    request = uncached_request(max_tokens=1) | image_data(mosaic_uri(0))
    server.complete(**request)
    answer = server.complete(**request)
    in_range = 1 < reported_cached_tokens(answer) <= answer.prompt_tokens
    assert_that(in_range, f"2 to {answer.prompt_tokens} cached tokens", answer.usage, answer.at)
