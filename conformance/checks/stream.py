"""stream: the answer as server-sent events, while it is generated."""

import json

from conformance.assertions.basic import (
    assert_equal,
    assert_error,
    assert_error_names_field,
    assert_that,
)
from conformance.assertions.streaming import assert_stream_equals_response
from conformance.harness.capabilities import (
    ECHO,
    LOGPROBS,
    MULTIPLE_CHOICES,
    PROMPT_LISTS,
    PROMPT_LOGPROBS,
    SEEDS,
    TOKEN_IDS,
    has,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import PROMPT, Server, assert_success
from conformance.http.response import Json, Stream
from conformance.verdicts import Evidence, Failed, Inconclusive, Level, NonStrict

checks = CheckGroup("stream")

SAMPLING = {"temperature": 1.5, "max_tokens": 12}

# Characters of two bytes that contain every byte such characters can have. A model that is made to
# repeat the bytes of its prompt generates characters of several tokens, and incomplete ones.
TWO_BYTE_CHARACTERS = "".join(chr((0xC3 + i % 29 - 0xC0) << 6 | i) for i in range(64))
REPEAT_BYTES: Json = {
    "prompt": TWO_BYTE_CHARACTERS,
    "max_tokens": 24,
    "temperature": 2,
    "repetition_penalty": 0.01,
}
TRIES = 12
LINE_SEPARATORS = ("\x85", "\u2028", "\u2029")


def two_choices(server: Server) -> Json:
    """Return fields for two sampled choices, or none if the server does not support `n`."""
    return {"n": 2, "temperature": 1, "seed": 5} if has(server, MULTIPLE_CHOICES) else {}


@checks.protocol(Level.MUST, Evidence.EXACT)
def false_is_single_json(server: Server) -> None:
    """With false, and without the field, the answer is one JSON object."""
    for value in False, ...:
        reply = server.post(stream=value)
        assert_success(reply)
        content_type = reply.headers.get("content-type", "")
        is_json = content_type.startswith("application/json")
        assert_that(is_json, "application/json", content_type, reply.at)
        assert_that("choices" in reply.json, "an answer with choices", reply.json, reply.at)


@checks.protocol(Level.MUST, Evidence.EXACT, spec="HTML: server-sent events")
def sse_framing(server: Server) -> None:
    """The body is a sequence of `data: {json}` lines, each followed by an empty line, and ends with
    `data: [DONE]`.
    """
    stream = server.stream()
    frames = stream.text.split("\n\n")
    assert_equal(frames[-2:], ["data: [DONE]", ""], "the end", stream.at)
    for frame in frames[:-2]:
        assert_that(frame.startswith("data: {"), "data: {json}", repr(frame[:200]), stream.at)
        assert_that("\n" not in frame and "\r" not in frame, "one line", repr(frame), stream.at)
        assert_json(frame.removeprefix("data: "), stream)


@checks.protocol(Level.SHOULD, Evidence.EXACT, ECHO, spec="HTML: server-sent events")
def line_separators_escaped(server: Server) -> None:
    """The line separators U+0085, U+2028 and U+2029 of a text are escaped in the JSON of an event,
    because many clients split a stream at every line break of Unicode.
    """
    logprobs = {"logprobs": 1} if has(server, PROMPT_LOGPROBS) else {}
    for separator in LINE_SEPARATORS:
        prompt = f"one{separator}two"
        stream = server.stream(prompt=prompt, max_tokens=1, echo=True, **logprobs)
        raw = [line for line in stream.text.split("\n") if separator in line]
        assert_that(not raw, f"{separator!a} as an escape", f"{raw[:1]!a}", stream.at)
        text = stream.completion.text
        assert_that(text.startswith(prompt), f"a text that begins with {prompt!a}", text, stream.at)


def assert_json(text: str, stream: Stream) -> None:
    try:
        json.loads(text)
    except ValueError:
        raise Failed("JSON", text[:200], at=stream.at) from None


@checks.protocol(Level.MUST, Evidence.EXACT)
def one_choice_per_event(server: Server) -> None:
    """Each event has exactly one choice; no event has an empty list."""
    stream = server.stream(**two_choices(server))
    for event in stream.events:
        choices = event.get("choices")
        assert_that(isinstance(choices, list) and len(choices) == 1, "one choice", event, stream.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def consistent_event_metadata(server: Server) -> None:
    """All events have the same id, `created` and model, and the object `text_completion`."""
    stream = server.stream(**two_choices(server))
    names = ("id", "object", "created", "model")
    metadata = [{name: event.get(name) for name in names} for event in stream.events]
    first = metadata[0] if metadata else {}
    valid = all(first.values()) and first.get("object") == "text_completion"
    assert_that(valid, "an id, the object text_completion, created and model", first, stream.at)
    assert_equal(first["model"], server.target.model, "model", stream.at)
    assert_that(all(m == first for m in metadata), f"{first} in each event", metadata, stream.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def single_finish_reason(server: Server) -> None:
    """Only the last event of a choice has a finish_reason."""
    stream = server.stream(**two_choices(server))
    for index in {part.get("index") for part in stream.parts}:
        reasons = [p.get("finish_reason") for p in stream.parts if p.get("index") == index]
        expected = [None] * (len(reasons) - 1)
        assert_that(
            reasons[:-1] == expected and reasons[-1] in ("stop", "length"),
            f"finish_reason on the last event of choice {index} only",
            reasons,
            stream.at,
        )


@checks.protocol(Level.MUST, Evidence.EXACT)
def incremental_text(server: Server) -> None:
    """A text of several tokens arrives in several events."""
    for _ in range(3):  # a server may merge tokens if the client reads slowly
        stream = server.stream(max_tokens=8)
        if len(stream.completion.text.split()) < 2:
            raise Inconclusive("the text has fewer than two words", at=stream.at)
        parts = [p.get("text") for p in stream.parts if p.get("text")]
        if len(parts) > 1:
            return
    raise Failed("several events with text", parts, at=stream.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def error_status(server: Server) -> None:
    """An error that is known before the first token has the same HTTP status as without a
    stream.
    """
    assert_error_names_field(server.post(stream=True, temperature=5), "temperature")
    assert_error(server.post(stream=True, model="no-such-model"), 404)


@checks.protocol(Level.MUST, Evidence.EXACT)
def usage_on_last_event(server: Server) -> None:
    """Only the event with the finish_reason of the last choice has usage."""
    stream = server.stream(stream_options={"include_usage": True}, **two_choices(server))
    events = stream.events
    with_usage = [i for i, e in enumerate(events) if e.get("usage")]
    ends = [i for i, e in enumerate(events) if any(is_finished(c) for c in e.get("choices") or ())]
    actual = f"on {with_usage} of {len(events)} events; reasons on {ends}"
    expected = "usage on the event of the last reason"
    if with_usage and with_usage[-1] == len(events) - 1 and not events[-1].get("choices"):
        note = "usage in a separate event without choices"
        raise NonStrict(expected, actual, note=note, at=stream.at)
    assert_that(with_usage == ends[-1:] == [len(events) - 1], expected, actual, stream.at)


def is_finished(choice: Json) -> bool:
    return choice.get("finish_reason") is not None


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def equals_non_streamed(server: Server) -> None:
    """The joined parts have the text, the finish reasons and the log-probabilities of the answer
    without a stream.
    """
    [_] = assert_stream_equals_response(server)
    assert_stream_equals_response(server, prompt="The", max_tokens=1)
    if has(server, LOGPROBS):
        assert_stream_equals_response(server, logprobs=0)
        assert_stream_equals_response(server, logprobs=3)
    if has(server, TOKEN_IDS):
        assert_stream_equals_response(server, logprobs=2, return_tokens_as_token_ids=True)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def equals_non_streamed_with_stop(server: Server) -> None:
    """The joined parts are the answer without a stream if a stop string ends it: no part of the
    string is sent, even if it spans two events, and text that only began like it is sent.
    """
    logprobs = {"logprobs": 1} if has(server, LOGPROBS) else {}
    for prompt in PROMPT, "The":
        text = server.complete(prompt=prompt).text
        for start, end in (1, 3), (2, 6), (4, 5):
            if stop := text[start:end]:
                near_misses = [f"{stop}§", stop, f"{text[:2]}§"]
                assert_stream_equals_response(server, prompt=prompt, stop=near_misses)
                assert_stream_equals_response(server, prompt=prompt, stop=stop, **logprobs)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, MULTIPLE_CHOICES, SEEDS)
def equals_non_streamed_n(server: Server) -> None:
    """The parts of n choices, joined by index, are those of the answer without a stream."""
    for seed in 1, 2:
        assert_stream_equals_response(server, n=3, seed=seed, **SAMPLING)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS)
def equals_non_streamed_list(server: Server) -> None:
    """The parts of a prompt list's choices, joined, are those of the answer without a stream."""
    assert_stream_equals_response(server, prompt=[PROMPT, "The", PROMPT])


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, ECHO)
def equals_non_streamed_echo(server: Server) -> None:
    """With echo, the joined parts are the answer without a stream: the prompt is sent once, before
    the output, with its log-probabilities.
    """
    choices = two_choices(server) if has(server, SEEDS) else {}
    assert_stream_equals_response(server, echo=True, **choices)
    if has(server, PROMPT_LOGPROBS):
        assert_stream_equals_response(server, echo=True, logprobs=2)


@checks.consistency(
    Level.MUST, Evidence.METAMORPHIC, SEEDS, spec="tokenizer.detokenizer.Detokenizer"
)
def whole_characters(server: Server) -> None:
    """A character whose bytes are in several tokens is sent whole, with the last of them; an
    incomplete one becomes U+FFFD exactly as in the answer without a stream.
    """
    multibyte_texts = 0
    for _ in range(TRIES):
        fields = REPEAT_BYTES | {"seed": server.rng.getrandbits(31)}
        response = server.complete(**fields)
        if any(ord(c) > 0x7F and c != "\ufffd" for c in response.text):
            multibyte_texts += 1
            joined = server.stream(**fields).completion
            assert_equal(joined.text, response.text, "the joined text", joined.at)
    if not multibyte_texts:
        raise Inconclusive("no output has a character of several bytes")
