"""model: which of the served models."""

from conformance.assertions.basic import equal, error_of, names_field, refused
from conformance.harness.registry import protocol
from conformance.http.client import Server
from conformance.verdicts import Evidence, Level

RESTS_ON = "OpenAI API reference: Completions"


@protocol(Level.MUST, Evidence.EXACT)
def missing_is_refused(server: Server) -> None:
    """A request without a model is a 422 that names the field."""
    names_field(server.post(model=...), "model")


@protocol(Level.MUST, Evidence.EXACT)
def wrong_types_are_refused(server: Server) -> None:
    """A model that is no string is a 422 that names the field."""
    refused(server, "model", [3, None, [server.target.model], {"id": server.target.model}])


@protocol(Level.MUST, Evidence.EXACT)
def another_name_is_404(server: Server) -> None:
    """A model that is not served is a 404 that says so in `error`; it is not taken for the one that
    is.
    """
    model = server.target.model
    for name in f"no-such-model-{server.rng.getrandbits(40):x}", f"{model}-2", f"{model} ", "":
        error_of(server.post(model=name), 404)


@protocol(Level.MUST, Evidence.EXACT)
def the_answer_names_it(server: Server) -> None:
    """`model` in the answer is the name that was asked for."""
    answer = server.ask()
    equal(answer.json.get("model"), server.target.model, "model", answer.at)
