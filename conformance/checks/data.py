"""data: images, for models that see."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from conformance.client import Server
from conformance.demands import accepted, error_of, refused, require
from conformance.registry import protocol
from conformance.verdicts import Evidence, Level

# One white pixel.
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N"
    "70a4AAAAAElFTkSuQmCC"
)


@protocol(Level.MUST, Evidence.EXACT)
def wrong_shapes_are_refused(server: Server) -> None:
    """What is no object with a list of strings is a 422 that names the field."""
    refused(server, "data", ["x", [], 3, {"image": PIXEL}, {"image": [3]}, {"image": [[PIXEL]]}])


@protocol(Level.MUST, Evidence.EXACT)
def no_images_are_fine(server: Server) -> None:
    """null and an empty list of images are accepted."""
    accepted(server, "data", [None, {"image": []}])


@protocol(Level.MUST, Evidence.EXACT)
def an_image_without_a_place_is_refused(server: Server) -> None:
    """An image for which the prompt has no placeholder is a 400 that says so in `error`: on a model
    that sees because they do not match, on one that does not because it does not.
    """
    for images in [PIXEL], [PIXEL, PIXEL]:
        error_of(server.post(data={"image": images}), 400)
        error_of(server.post(data={"image": images}, stream=True), 400)


@protocol(Level.MUST, Evidence.EXACT)
def no_url_is_fetched(server: Server) -> None:
    """An image is given, not fetched: any URL but `data:` is refused, and nobody connects to it.

    The address is one of the machine that the checks run on; a server on another machine can only
    be seen to refuse it.
    """
    with listening() as (address, callers):
        for prompt in "Once", "<image>":
            reply = server.post(prompt=prompt, data={"image": [f"http://{address}/image.png"]})
            require(400 <= reply.status < 500, "a 4xx", reply.status, reply.at)
        require(not callers, "no connection", f"{len(callers)} connections", server.last)


@contextmanager
def listening() -> Iterator[tuple[str, list[object]]]:
    """An address, and who has connected to it; each is sent away."""
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while True:
                connection, caller = listener.accept()
                connection.close()
                if caller == closing:
                    return
                callers.append(caller)

        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            closing = last.getsockname()
            thread = threading.Thread(target=listen, daemon=True)
            thread.start()
            host, port = listener.getsockname()
            try:
                yield f"{host}:{port}", callers
            finally:
                last.connect((host, port))
                thread.join()
