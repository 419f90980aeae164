"""Mutants that accept or refuse the wrong images."""

import urllib.request
from collections.abc import Callable
from dataclasses import replace

from starlette.types import ASGIApp, Scope

from api.app import create_app
from reference.bundle import Bundle
from reference.images import decoding
from reference.images.limits import ImageError, ImageLimits
from tests.conformance.mutants import mutant
from tests.conformance.mutants.data.helpers import (
    BLACK,
    count_placeholders,
    image_uris,
    replace_images,
    with_image_uris,
)
from tests.conformance.mutations.engine import Json, conforming_app, served_model
from tests.conformance.mutations.requests import broken_when, drop_fields, mutate_body
from tests.conformance.mutations.responses import RawResponse, mutate_response, mutate_text


def text_only(model: Bundle) -> ASGIApp:
    """Serve the model as a text-only model."""
    return create_app([replace(served_model(model), image_processor=None)])


def undecodable_as_black(model: Bundle, is_accepted: Callable[[str], bool]) -> ASGIApp:
    """Replace an undecodable image by a black one if its error message is accepted."""

    def decodable(uri: str) -> str:
        try:
            decoding.decode_image(uri, ImageLimits())
        except ImageError as error:
            return BLACK if is_accepted(str(error)) else uri
        return uri

    return with_image_uris(model, decodable)


@mutant("data/malformed-data-422")
def bare_image_accepted(model: Bundle) -> ASGIApp:
    """Accept an image that is not in a list."""

    def in_list(body: Json) -> Json:
        uri = image_uris(body)
        return body | ({"data": {"image": [uri]}} if isinstance(uri, str) else {})

    return mutate_body(conforming_app(model), in_list)


@mutant("data/no-images-accepted")
def empty_images_refused(model: Bundle) -> ASGIApp:
    """Refuse the field on a text-only model even without images."""

    def refused(body: Json) -> Json:
        return body | ({"data": {"image": ["a"]}} if image_uris(body) == [] else {})

    return mutate_body(conforming_app(model), refused)


@mutant(
    "data/image-without-placeholder-400",
    "data/image-count-mismatch",
    "data/invalid-image",
    "data/error-names-index",
    "data/decompression-bomb",
    "data/distinct-images-differ",
    "data/every-image-used",
    "data/any-size-matches-model",
)
def data_ignored(model: Bundle) -> ASGIApp:
    """Accept and drop the field."""
    return drop_fields(text_only(model), "data")


@mutant("data/no-url-fetch")
def url_fetched(model: Bundle) -> ASGIApp:
    """Fetch a URL before it is refused."""

    def fetch(body: Json) -> Json:
        for url in image_uris(body) or ():
            try:
                urllib.request.urlopen(url, timeout=1).close()
            except (OSError, ValueError):
                pass  # the server refuses it anyway
        return body

    return mutate_body(conforming_app(model), fetch)


@mutant("data/image-formats")
def webp_refused(model: Bundle) -> ASGIApp:
    """Refuse WebP."""
    return with_image_uris(model, lambda uri: "webp" if "image/webp" in uri else uri)


@mutant("data/image-formats")
def upper_case_refused(model: Bundle) -> ASGIApp:
    """Refuse a media type in upper case."""
    return with_image_uris(
        model, lambda uri: uri if uri.startswith("data:image") else "another type"
    )


@mutant("data/image-count-mismatch", "data/image-without-placeholder-400")
def image_count_unchecked(model: Bundle) -> ASGIApp:
    """Drop surplus images, and repeat the last image if there are too few."""

    def fitted(body: Json) -> Json:
        count = count_placeholders(body)
        uris = image_uris(body) or ([BLACK] if count else [])
        return replace_images(body, [*uris, *uris[-1:] * count][:count])

    return mutate_body(conforming_app(model), fitted)


@mutant("data/image-count-mismatch")
def placeholder_as_text(model: Bundle) -> ASGIApp:
    """Encode placeholders as text if there are no images."""
    return broken_when(model, lambda body: not image_uris(body), text_only(model))


@mutant("data/invalid-image", "data/error-names-index")
def invalid_image_is_black(model: Bundle) -> ASGIApp:
    """Use a black image for an invalid one."""
    return undecodable_as_black(model, lambda message: True)


@mutant("data/invalid-image")
def truncated_image_accepted(model: Bundle) -> ASGIApp:
    """Accept an image that is cut off."""
    return undecodable_as_black(model, lambda message: "runcated" in message)


@mutant("data/error-names-index")
def one_based_error_index(model: Bundle) -> ASGIApp:
    """Count images from 1 in error messages."""

    def incremented(text: str, _: str) -> str:
        for i in (2, 1, 0):
            text = text.replace(f"data.image[{i}]", f"data.image[{i + 1}]")
        return text

    return mutate_text(conforming_app(model), incremented, (400,))


@mutant("data/invalid-image", "data/decompression-bomb")
def renamed_error_code(model: Bundle) -> ASGIApp:
    """Report another error code for an invalid image."""
    return mutate_text(
        conforming_app(model), lambda text, _: text.replace("invalid_image", "error"), (400,)
    )


@mutant("data/decompression-bomb")
def pixel_limit_ignored(model: Bundle) -> ASGIApp:
    """Accept any number of declared pixels; missing ones are black."""
    return undecodable_as_black(model, lambda message: "pixels" in message)


@mutant("data/invalid-image", "data/error-names-index")
def invalid_image_422(model: Bundle) -> ASGIApp:
    """Answer a 422 for an invalid image."""

    def change(scope: Scope, response: RawResponse) -> RawResponse:
        status, headers, text = response
        return (422 if "invalid_image" in text else status), headers, text

    return mutate_response(conforming_app(model), change)


@mutant("data/image-tokens-fill-context")
def prompt_cut_to_fit(model: Bundle) -> ASGIApp:
    """Cut off the end of a prompt that is too long because of its images."""

    def cut(body: Json) -> Json:
        prompt = body["prompt"]
        if not (image_uris(body) and isinstance(prompt, str) and model.image_processor):
            return body
        image_tokens = (model.image_processor.tokens_per_image - 1) * count_placeholders(body)
        limit = model.context - 1 - image_tokens
        while len(model.tokenizer.encode(prompt)) > limit:
            prompt = prompt[:-1]
        return body | {"prompt": prompt}

    return mutate_body(conforming_app(model), cut)
