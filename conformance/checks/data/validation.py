"""Validation of images and of their number."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from conformance.assertions.basic import (
    assert_accepted,
    assert_completion,
    assert_equal,
    assert_error,
    assert_rejected,
    assert_that,
)
from conformance.assertions.context import MAX_FILLED_CONTEXT
from conformance.assertions.images import (
    ONE_IMAGE_PROMPT,
    TWO_IMAGE_PROMPT,
    image_data,
    tokens_per_image,
)
from conformance.fixtures import images as image_files
from conformance.fixtures.images import PLACEHOLDER, mosaic_uri
from conformance.harness.capabilities import (
    CONTEXT_LENGTH,
    PROMPT_LISTS,
    VISION,
    context_length,
    has,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import PROMPT, Server
from conformance.verdicts import Evidence, Inconclusive, Level

checks = CheckGroup("data")


@checks.protocol(Level.MUST, Evidence.EXACT)
def malformed_data_422(server: Server) -> None:
    """A value other than an object with a list of strings is a 422 that names the field."""
    image = mosaic_uri(0)
    assert_rejected(
        server, "data", ["x", [], 3, {"image": image}, {"image": [3]}, {"image": [[image]]}]
    )


@checks.protocol(Level.MUST, Evidence.EXACT)
def no_images_accepted(server: Server) -> None:
    """null and an empty list of images are accepted."""
    assert_accepted(server, "data", [None, {"image": []}])


@checks.protocol(Level.MUST, Evidence.EXACT)
def image_without_placeholder_400(server: Server) -> None:
    """An image without a placeholder in the prompt is a 400 that is described in `error`: a
    vision-language model reports the wrong count, a text-only model that it takes no images.
    """
    for images in [mosaic_uri(0)], [mosaic_uri(0), mosaic_uri(1)]:
        assert_error(server.post(data={"image": images}), 400)
        assert_error(server.post(data={"image": images}, stream=True), 400)


@checks.protocol(Level.MUST, Evidence.EXACT)
def no_url_fetch(server: Server) -> None:
    """An image is sent, not fetched: any URL other than a `data:` URI is refused, and the server
    does not connect to it.

    The URL has an address of the machine that runs the checks: a connection from another machine
    may not reach it, and then only the refusal is checked.
    """
    with listening() as (address, clients):
        for prompt in "Once", "<image>":
            reply = server.post(prompt=prompt, data={"image": [f"http://{address}/image.png"]})
            assert_that(400 <= reply.status < 500, "a 4xx", reply.status, reply.at)
        assert_that(not clients, "no connection", f"{len(clients)} connections", server.last)


@contextmanager
def listening() -> Iterator[tuple[str, list[object]]]:
    """Yield a local address and the list of clients that have connected to it; each connection is
    closed at once.
    """
    clients: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while True:
                connection, client = listener.accept()
                connection.close()
                if client == closing_client:
                    return
                clients.append(client)

        # A connection from this socket ends the thread after all earlier ones are recorded.
        with socket.socket() as closing:
            closing.bind(("127.0.0.1", 0))
            closing_client = closing.getsockname()
            thread = threading.Thread(target=listen, daemon=True)
            thread.start()
            host, port = listener.getsockname()
            try:
                yield f"{host}:{port}", clients
            finally:
                closing.connect((host, port))
                thread.join()


@checks.protocol(Level.MUST, Evidence.EXACT, VISION)
def image_formats(server: Server) -> None:
    """PNG, JPEG, WebP and GIF are accepted, with the media type in upper or lower case."""
    for image in image_files.all_formats(0).values():
        assert_completion(server.post(prompt=ONE_IMAGE_PROMPT, max_tokens=1, **image_data(image)))


@checks.protocol(Level.MUST, Evidence.EXACT, VISION, spec="images.placement.expand_placeholders")
def image_count_mismatch(server: Server) -> None:
    """Fewer or more images than placeholders in all prompts together are a 400 with the code
    `image_count_mismatch`, streamed or not.
    """
    prompts: list[Any] = [ONE_IMAGE_PROMPT, TWO_IMAGE_PROMPT]
    prompts += [[ONE_IMAGE_PROMPT, PROMPT, ONE_IMAGE_PROMPT]] if has(server, PROMPT_LISTS) else []
    for prompt in prompts:
        count = "".join(prompt).count(PLACEHOLDER)
        for wrong_count in {0, count - 1, count + 1}:
            images = image_data(*map(mosaic_uri, range(wrong_count)))
            for fields in {}, {"stream": True}:
                reply = server.post(prompt=prompt, **images, **fields)
                assert_error(reply, 400, "image_count_mismatch")


@checks.protocol(Level.MUST, Evidence.EXACT, VISION, spec="images.decoding.decode_image")
def invalid_image(server: Server) -> None:
    """Invalid base64, a file that is not an image, a truncated image, or another format is a 400
    with the code `invalid_image`, streamed or not.
    """
    for image in image_files.invalid_images().values():
        for fields in {}, {"stream": True}:
            reply = server.post(prompt=ONE_IMAGE_PROMPT, **image_data(image), **fields)
            assert_error(reply, 400, "invalid_image")


@checks.protocol(Level.MUST, Evidence.EXACT, VISION, spec="images.placement.expand_placeholders")
def error_names_index(server: Server) -> None:
    """If one of several images is invalid, the message names its index, as `data.image[1]`."""
    for index, image in itertools.product(
        range(3), list(image_files.invalid_images().values())[:3]
    ):
        images = [mosaic_uri(0), mosaic_uri(1), mosaic_uri(2)]
        images[index] = image
        reply = server.post(prompt=PLACEHOLDER * 3, **image_data(*images))
        message = assert_error(reply, 400, "invalid_image")["message"]
        named = [i for i in range(4) if f"data.image[{i}]" in str(message)]
        assert_that(named == [index], f"data.image[{index}] in the message", message, reply.at)


@checks.protocol(Level.MUST, Evidence.EXACT, VISION, spec="images.limits.ImageLimits")
def decompression_bomb(server: Server) -> None:
    """A small file whose header claims 60,000 × 60,000 pixels is a 400 with the code
    `invalid_image`.
    """
    assert_error(
        server.post(prompt=ONE_IMAGE_PROMPT, **image_data(image_files.decompression_bomb())),
        400,
        "invalid_image",
    )


@checks.protocol(
    Level.MUST, Evidence.EXACT, VISION, CONTEXT_LENGTH, spec="images.placement.expand_placeholders"
)
def image_tokens_fill_context(server: Server) -> None:
    """The tokens of an image count towards the context: a prompt that leaves no room for one output
    token because of them is a 400 with the code `context_length_exceeded`.
    """
    context = context_length(server) or 0
    if context > MAX_FILLED_CONTEXT:
        raise Inconclusive(f"a context of {context} tokens is too long to be filled")

    def fields(words: int) -> dict[str, Any]:
        return {"prompt": PLACEHOLDER + " a" * words, "max_tokens": 1} | image_data(mosaic_uri(0))

    shorter, longer = (server.complete(**fields(words)).prompt_tokens for words in (16, 32))
    room = context - shorter  # in words of one token
    if longer - shorter != 16 or not 0 < room or tokens_per_image(server) < 2:
        raise Inconclusive("no prompt with a predictable number of tokens fills the context")
    fits = server.complete(**fields(16 + room - 1))
    assert_equal(fits.prompt_tokens, context - 1, "prompt_tokens", fits.at)
    assert_error(server.post(**fields(16 + room)), 400, "context_length_exceeded")
