"""Changes of the images in requests, and of the responses to requests with images."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image as PillowImage
from starlette.types import ASGIApp

from conformance.fixtures.images import PLACEHOLDER, png
from reference.bundle import Bundle
from reference.request import Image, Request
from tests.conformance.mutations.engine import Json, conforming_app, with_engine_requests
from tests.conformance.mutations.requests import mutate_body, route_by_body
from tests.conformance.mutations.responses import mutate_json

BLACK = png(PillowImage.new("RGB", (32, 32)))


def image_uris(body: Json) -> Any:
    """Return `data.image` of a request, which may be malformed."""
    data = body.get("data")
    return data.get("image") if isinstance(data, dict) else None


def has_valid_uris(body: Json) -> bool:
    uris = image_uris(body)
    return isinstance(uris, list) and all(isinstance(uri, str) for uri in uris)


def replace_images(body: Json, uris: Iterable[str]) -> Json:
    """Return the request with other images."""
    return body | {"data": {"image": list(uris)}}


def with_image_uris(model: Bundle, change: Callable[[str], str]) -> ASGIApp:
    """Change the URI of each image in a request."""

    def changed(body: Json) -> Json:
        return replace_images(body, map(change, image_uris(body))) if has_valid_uris(body) else body

    return mutate_body(conforming_app(model), changed)


def with_preprocessed_images(
    model: Bundle, change: Callable[[Request], Sequence[Image]]
) -> ASGIApp:
    """Change the preprocessed images of a request, at the same positions."""

    def changed(request: Request) -> Request:
        pairs = zip(request.images, change(request), strict=True)
        spans = tuple(replace(span, image=image) for span, image in pairs)
        return replace(request, images=spans)

    return with_engine_requests(model, changed)


def count_placeholders(body: Json) -> int:
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    return sum(p.count(PLACEHOLDER) for p in prompts if isinstance(p, str))


def with_image_responses(model: Bundle, change: Callable[[Json, Json], None]) -> ASGIApp:
    """Change the non-streamed responses to requests with images in place, given the request too."""

    def choose(body: bytes) -> ASGIApp:
        try:
            request = json.loads(body)
            if not image_uris(request) or request.get("stream"):
                return app
        except (ValueError, AttributeError):
            return app

        def changed(answer: Json) -> Json:
            change(answer, request)
            return answer

        return mutate_json(app, changed)

    app = conforming_app(model)
    return route_by_body(choose)


def with_echoed_logprobs(model: Bundle, change: Callable[[Json, list[int]], None]) -> ASGIApp:
    """Change `logprobs` of echoed prompts with images, given the positions of the image tokens."""

    def changed(answer: Json, request: Json) -> None:
        for choice in answer["choices"]:
            if request.get("echo") and (logprobs := choice["logprobs"]):
                values = enumerate(logprobs["token_logprobs"])
                change(logprobs, [i for i, value in values if i and value is None])

    return with_image_responses(model, changed)
