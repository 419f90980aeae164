"""model: selects one of the served models."""

from conformance.assertions.basic import (
    assert_equal,
    assert_error,
    assert_error_names_field,
    assert_rejected,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.verdicts import Evidence, Level

checks = CheckGroup("model", spec="OpenAI API reference: Completions")


@checks.protocol(Level.MUST, Evidence.EXACT)
def missing_name(server: Server) -> None:
    """A request without a model is a 422 that names the field."""
    assert_error_names_field(server.post(model=...), "model")


@checks.protocol(Level.MUST, Evidence.EXACT, name="type")
def wrong_types(server: Server) -> None:
    """A model that is not a string is a 422 that names the field."""
    assert_rejected(server, "model", [3, None, [server.target.model], {"id": server.target.model}])


@checks.protocol(Level.MUST, Evidence.EXACT)
def unknown_name_404(server: Server) -> None:
    """A model that is not served is a 404 with an `error`; no other model answers for it."""
    model = server.target.model
    for name in f"no-such-model-{server.rng.getrandbits(40):x}", f"{model}-2", f"{model} ", "":
        assert_error(server.post(model=name), 404)


@checks.protocol(Level.MUST, Evidence.EXACT)
def name_in_response(server: Server) -> None:
    """`model` in the response is the model of the request."""
    answer = server.complete()
    assert_equal(answer.json.get("model"), server.target.model, "model", answer.at)
