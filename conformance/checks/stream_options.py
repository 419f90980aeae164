"""stream_options: whether and when a stream reports usage."""

from typing import Any

from conformance.assertions.basic import assert_equal, assert_rejected, assert_that
from conformance.harness.capabilities import MULTIPLE_CHOICES, STREAM, has
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.http.response import Completion, Stream
from conformance.verdicts import Evidence, Failed, Level

checks = CheckGroup("stream_options")

COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def request_fields(server: Server) -> dict[str, Any]:
    """Return the fields of a request for two choices, or for one if the server has no n."""
    return {"max_tokens": 5} | ({"n": 2, "temperature": 1} if has(server, MULTIPLE_CHOICES) else {})


def counts(usage: Any, stream: Stream) -> list[int]:
    """Return the three counts, without the cached tokens, which a repeated request changes."""
    if not isinstance(usage, dict) or any(type(usage.get(name)) is not int for name in COUNTS):
        raise Failed("usage with three counts", usage, at=stream.at)
    return [usage[name] for name in COUNTS]


@checks.protocol(Level.MUST, Evidence.EXACT, STREAM)
def option_types(server: Server) -> None:
    """An option that is not a boolean is a 422 that names the field."""
    wrong: list[Any] = [{"include_usage": "maybe"}, {"include_usage": 3}]
    wrong += [{"continuous_usage_stats": []}]
    assert_rejected(server, "stream_options", wrong)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, STREAM)
def usage_by_default(server: Server) -> None:
    """Without stream_options, and without include_usage in them, a stream has the usage of the
    response that is not streamed.
    """
    fields = request_fields(server)
    response = server.complete(**fields)
    for options in ..., None, {}, {"continuous_usage_stats": False}:
        stream = server.stream(stream_options=options, **fields)
        assert_same_usage(stream, response)


def assert_same_usage(stream: Stream, response: Completion) -> None:
    """Compare the final usage of a stream with that of a response that is not streamed."""
    expected = [response.usage.get(name) for name in COUNTS]
    assert_equal(counts(stream.usage, stream), expected, "usage of the stream", stream.at)


@checks.protocol(Level.MUST, Evidence.EXACT, STREAM)
def include_usage_false(server: Server) -> None:
    """With include_usage false no event has usage."""
    stream = server.stream(stream_options={"include_usage": False}, **request_fields(server))
    usages = [e["usage"] for e in stream.events if e.get("usage") is not None]
    assert_that(not usages, "no usage", usages, stream.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, STREAM)
def continuous_usage(server: Server) -> None:
    """With continuous_usage_stats every event has usage, which never decreases: all tokens of the
    prompt, the tokens of the output so far, and at the end the final counts.
    """
    fields = request_fields(server)
    response = server.complete(**fields)
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = server.stream(stream_options=options, **fields)
    usages = [counts(event.get("usage"), stream) for event in stream.events]
    for prompt, completion, total in usages:
        assert_equal(prompt, response.prompt_tokens, "prompt_tokens", stream.at)
        assert_equal(total, prompt + completion, "total_tokens", stream.at)
    completions = [completion for _, completion, _ in usages]
    increasing = completions == sorted(completions) and completions[0] < completions[-1]
    assert_that(increasing, "completion_tokens that increase", completions, stream.at)
    assert_same_usage(stream, response)
