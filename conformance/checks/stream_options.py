"""stream_options: what a stream says beside the text."""

from typing import Any

from conformance.assertions.basic import equal, refused, require
from conformance.harness.capabilities import SEVERAL, STREAM, has
from conformance.harness.registry import consistency, protocol
from conformance.http.client import Server
from conformance.http.response import Answer, Stream
from conformance.verdicts import Evidence, Failed, Level

COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def fields_of(server: Server) -> dict[str, Any]:
    """A request for several choices, if the server can, and for one, if not."""
    return {"max_tokens": 5} | ({"n": 2, "temperature": 1} if has(server, SEVERAL) else {})


def counts(usage: Any, stream: Stream) -> list[int]:
    """Without what was cached, which the same request changes."""
    if not isinstance(usage, dict) or any(type(usage.get(name)) is not int for name in COUNTS):
        raise Failed("usage with three counts", usage, at=stream.at)
    return [usage[name] for name in COUNTS]


@protocol(Level.MUST, Evidence.EXACT, STREAM)
def wrong_types_are_refused(server: Server) -> None:
    """What is no object, or has no truth value where there should be one, is a 422 that names the
    field.
    """
    wrong: list[Any] = ["usage", 3, [], True]
    wrong += [{"include_usage": "maybe"}, {"include_usage": 3}, {"continuous_usage_stats": []}]
    for value in wrong:
        refused(server, "stream_options", [value])


@consistency(Level.MUST, Evidence.METAMORPHIC, STREAM)
def usage_is_there_by_default(server: Server) -> None:
    """Without stream_options, and where they do not say, a stream has the usage of the whole
    answer.
    """
    fields = fields_of(server)
    whole = server.ask(**fields)
    for options in ..., None, {}, {"continuous_usage_stats": False}:
        stream = server.stream(stream_options=options, **fields)
        says_the_same(stream, whole)


def says_the_same(stream: Stream, whole: Answer) -> None:
    expected = [whole.usage.get(name) for name in COUNTS]
    equal(counts(stream.usage, stream), expected, "usage of the stream", stream.at)


@protocol(Level.MUST, Evidence.EXACT, STREAM)
def include_usage_may_be_false(server: Server) -> None:
    """With include_usage false no event has usage."""
    stream = server.stream(stream_options={"include_usage": False}, **fields_of(server))
    found = [e["usage"] for e in stream.events if e.get("usage") is not None]
    require(not found, "no usage", found, stream.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, STREAM)
def usage_may_run_along(server: Server) -> None:
    """With continuous_usage_stats every event has usage, which never falls: the prompt's in full,
    the completion's up to there, at the end the whole answer's.
    """
    fields = fields_of(server)
    whole = server.ask(**fields)
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = server.stream(stream_options=options, **fields)
    found = [counts(event.get("usage"), stream) for event in stream.events]
    for prompt, completion, total in found:
        equal(prompt, whole.prompt_tokens, "prompt_tokens", stream.at)
        equal(total, prompt + completion, "total_tokens", stream.at)
    completions = [completion for _, completion, _ in found]
    rising = completions == sorted(completions) and completions[0] < completions[-1]
    require(rising, "completion_tokens that grow", completions, stream.at)
    says_the_same(stream, whole)
