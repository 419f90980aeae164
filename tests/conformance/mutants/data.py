"""data, broken."""

import urllib.request
from typing import Any

from starlette.types import ASGIApp

from reference.model import Model
from tests.conformance.breaking import Json, asking, whole, without
from tests.conformance.mutants import mutant


def images(body: Json) -> Any:
    data = body.get("data")
    return data.get("image") if isinstance(data, dict) else None


@mutant("data/wrong-shapes-are-refused")
def one_image(model: Model) -> ASGIApp:
    """One image need not be in a list."""

    def listed(body: Json) -> Json:
        found = images(body)
        return body | ({"data": {"image": [found]}} if isinstance(found, str) else {})

    return asking(whole(model), listed)


@mutant("data/no-images-are-fine")
def any_data(model: Model) -> ASGIApp:
    """The field itself is refused by a model that does not see."""

    def refused(body: Json) -> Json:
        return body | ({"data": {"image": ["a"]}} if images(body) == [] else {})

    return asking(whole(model), refused)


@mutant("data/an-image-without-a-place-is-refused")
def ignored(model: Model) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "data")


@mutant("data/no-url-is-fetched")
def fetched(model: Model) -> ASGIApp:
    """A URL is fetched before anybody asks what it is for."""

    def fetch(body: Json) -> Json:
        for url in images(body) or ():
            try:
                urllib.request.urlopen(url, timeout=1).close()
            except (OSError, ValueError):
                pass  # it is refused as before
        return body

    return asking(whole(model), fetch)
