"""The list of the served models."""

from typing import Any

from conformance.assertions.basic import assert_equal, assert_that
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server, assert_success
from conformance.verdicts import Evidence, Level

checks = CheckGroup("models", spec="OpenAI API reference: Models")

PREFIXES = ("/v1/openai", "/v1")
MAX_SECONDS = 10**11  # a later time is in milliseconds


def entries(server: Server, url: str) -> list[dict[str, Any]]:
    """Return the entries of a list of models. Raises Failed if the answer has another shape."""
    reply = server.send(method="GET", url=url)
    assert_success(reply)
    body = reply.json
    valid = isinstance(body.get("data"), list) and all(isinstance(e, dict) for e in body["data"])
    assert_that(valid and body.get("object") == "list", "object list, with data", body, reply.at)
    return list(body["data"])


@checks.protocol(Level.MUST, Evidence.EXACT)
def served_model_listed(server: Server) -> None:
    """GET models returns a list with exactly one entry for the served model."""
    listed = [e.get("id") for e in entries(server, f"{server.target.base}/models")]
    assert_equal(
        listed.count(server.target.model), 1, f"entries of {server.target.model}", server.last
    )


@checks.protocol(Level.MUST, Evidence.EXACT)
def entry_fields(server: Server) -> None:
    """An entry has the model's name as its id, the object `model`, and its creation time in
    seconds.
    """
    for entry in entries(server, f"{server.target.base}/models"):
        seconds = entry.get("created")
        valid = (
            isinstance(entry.get("id"), str)
            and entry.get("object") == "model"
            and type(seconds) is int
            and 0 <= seconds < MAX_SECONDS
        )
        assert_that(valid, "an id, the object model, and when it was created", entry, server.last)


@checks.protocol(Level.SHOULD, Evidence.METAMORPHIC)
def same_list_both_paths(server: Server) -> None:
    """`/v1/models` and `/v1/openai/models` return the same list."""
    first, second = (
        [e.get("id") for e in entries(server, f"{server.target.root}{prefix}/models")]
        for prefix in PREFIXES
    )
    assert_equal(second, first, "the list at the other path", server.last)
