"""The list of what is served."""

from typing import Any

from conformance.assertions.basic import equal, require
from conformance.harness.registry import protocol
from conformance.http.client import Server, demand_success
from conformance.verdicts import Evidence, Level

RESTS_ON = "OpenAI API reference: Models"

PREFIXES = ("/v1/openai", "/v1")


def entries(server: Server, url: str) -> list[dict[str, Any]]:
    """Of a list of models. Raises Failed if it is none."""
    reply = server.send(method="GET", url=url)
    demand_success(reply)
    found = reply.json
    well = isinstance(found.get("data"), list) and all(isinstance(e, dict) for e in found["data"])
    require(well and found.get("object") == "list", "object list, with data", found, reply.at)
    return list(found["data"])


@protocol(Level.MUST, Evidence.EXACT)
def lists_what_is_served(server: Server) -> None:
    """GET models is a list in which the model that is asked has an entry, once."""
    listed = [e.get("id") for e in entries(server, f"{server.target.base}/models")]
    equal(listed.count(server.target.model), 1, f"entries of {server.target.model}", server.last)


@protocol(Level.MUST, Evidence.EXACT)
def entries_say_what_they_are(server: Server) -> None:
    """An entry has the model's name as its id, the object `model`, and a time in seconds."""
    for entry in entries(server, f"{server.target.base}/models"):
        seconds = entry.get("created")
        well = (
            isinstance(entry.get("id"), str)
            and entry.get("object") == "model"
            and type(seconds) is int
            and 0 <= seconds < 10**11
        )
        require(well, "an id, the object model, and when it was created", entry, server.last)


@protocol(Level.SHOULD, Evidence.METAMORPHIC)
def both_paths_list_the_same(server: Server) -> None:
    """`/v1/models` and `/v1/openai/models` are one list."""
    found = [
        [e.get("id") for e in entries(server, f"{server.target.root}{prefix}/models")]
        for prefix in PREFIXES
    ]
    equal(found[1], found[0], "the list at the other path", server.last)
