"""Mutants that put images at the wrong placeholder, or none at all."""

from starlette.types import ASGIApp

from conformance.fixtures.images import PLACEHOLDER
from reference.bundle import Bundle
from reference.request import Image, Request
from tests.conformance.mutants import mutant
from tests.conformance.mutants.data.helpers import (
    BLACK,
    count_placeholders,
    has_valid_uris,
    image_uris,
    replace_images,
    with_preprocessed_images,
)
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import mutate_body


@mutant(
    "data/distinct-images-differ",
    "data/every-image-used",
    "data/multiple-images-match-model",
)
def pixels_ignored(model: Bundle) -> ASGIApp:
    """Use a gray image for every image."""

    def gray(request: Request) -> list[Image]:
        return [Image.of(span.image.pixels * 0) for span in request.images]

    return with_preprocessed_images(model, gray)


@mutant("data/every-image-used", "data/multiple-images-match-model")
def first_image_for_all(model: Bundle) -> ASGIApp:
    """Use the first image at every placeholder of a prompt."""
    return with_preprocessed_images(model, lambda r: [r.images[0].image for _ in r.images])


@mutant(
    "data/placeholder-order",
    "data/images-per-list-prompt",
    "data/multiple-images-match-model",
)
def images_reversed(model: Bundle) -> ASGIApp:
    """Assign images to placeholders in reverse order."""

    def reverse(body: Json) -> Json:
        return replace_images(body, image_uris(body)[::-1]) if has_valid_uris(body) else body

    return mutate_body(conforming_app(model), reverse)


@mutant("data/images-per-list-prompt")
def images_restart_per_prompt(model: Bundle) -> ASGIApp:
    """Start with the first image in each prompt of a list."""

    def restart(body: Json) -> Json:
        uris, prompts = image_uris(body), body["prompt"]
        if not uris or not isinstance(prompts, list) or len(uris) != count_placeholders(body):
            return body
        return replace_images(body, [u for p in prompts for u in uris[: p.count(PLACEHOLDER)]])

    return mutate_body(conforming_app(model), restart)


@mutant("data/images-in-id-prompt")
def black_images_in_id_prompt(model: Bundle) -> ASGIApp:
    """Use black images in a prompt of token ids."""

    def black(body: Json) -> Json:
        ids, uris = [i for i in body["prompt"] if isinstance(i, int)], image_uris(body)
        return replace_images(body, [BLACK] * len(uris)) if ids and uris else body

    return mutate_body(conforming_app(model), black)


@mutant("data/stream-equals-non-streamed")
def black_images_in_stream(model: Bundle) -> ASGIApp:
    """Use black images in a streaming request."""

    def black(body: Json) -> Json:
        uris = image_uris(body)
        return replace_images(body, [BLACK] * len(uris)) if uris and body.get("stream") else body

    return mutate_body(conforming_app(model), black)
