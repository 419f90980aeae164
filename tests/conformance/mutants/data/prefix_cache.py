"""Mutants of the prefix cache with images."""

from dataclasses import replace

from starlette.types import ASGIApp

from reference.bundle import Bundle
from reference.request import Event, Image, PromptProcessed, Request, TokenGenerated
from tests.conformance.mutants import mutant
from tests.conformance.mutants.data.helpers import with_preprocessed_images
from tests.conformance.mutations.engine import with_engine_events


@mutant("data/image-hit-bitwise-equal")
def image_hit_changes_last_digit(model: Bundle) -> ASGIApp:
    """Change the last digit of log-probabilities after a hit of a prompt with images."""
    hits: list[int] = []

    def change(request: Request, event: Event) -> Event:
        if isinstance(event, PromptProcessed):
            hits.append(event.cached_tokens if request.images else 0)
        if not isinstance(event, TokenGenerated) or not hits[-1] or event.logprobs is None:
            return event
        logprob = event.logprobs.logprob * (1 + 2**-23)
        return replace(event, logprobs=replace(event.logprobs, logprob=logprob))

    return with_engine_events(model, change)


@mutant("data/cache-keyed-by-image", "data/shared-prefix-before-image")
def cache_keyed_by_text(model: Bundle) -> ASGIApp:
    """Share prefixes between prompts with the same text, whatever their images."""
    return with_preprocessed_images(model, lambda r: [Image(p.image.pixels, b"") for p in r.images])


@mutant("data/image-hit-reported")
def images_never_cached(model: Bundle) -> ASGIApp:
    """Cache no prompt with images."""
    count = 0

    def with_unique_hash(request: Request) -> list[Image]:
        nonlocal count
        count += 1
        return [Image(span.image.pixels, str(count).encode()) for span in request.images]

    return with_preprocessed_images(model, with_unique_hash)
