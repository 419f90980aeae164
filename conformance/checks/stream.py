"""stream: the answer as it grows, in server-sent events."""

import json
from typing import Any

from conformance.assertions.basic import (
    equal,
    error_of,
    names_field,
    refused,
    require,
    same,
)
from conformance.harness.capabilities import (
    ECHO,
    ECHOED_ROWS,
    LOGPROBS,
    PROMPT_LISTS,
    SEEDS,
    SEVERAL,
    TOKEN_IDS,
    has,
)
from conformance.harness.registry import consistency, protocol
from conformance.http.client import PROMPT, Server, demand_success
from conformance.http.response import Choice, Json, Stream
from conformance.verdicts import Evidence, Failed, Inconclusive, Level, NonStrict

WARM = {"temperature": 1.5, "max_tokens": 12}

# Characters of two bytes, with every byte that those have: a model that is made to repeat the bytes
# of its prompt writes characters of several tokens, and broken ones.
BYTES = "".join(chr((0xC3 + i % 29 - 0xC0) << 6 | i) for i in range(64))
JUMBLE: Json = {"prompt": BYTES, "max_tokens": 24, "temperature": 2, "repetition_penalty": 0.01}
TRIES = 12


def several(server: Server) -> Json:
    """Fields for more than one choice, if the server can."""
    return {"n": 2, "temperature": 1, "seed": 5} if has(server, SEVERAL) else {}


@protocol(Level.MUST, Evidence.EXACT)
def wrong_types_are_refused(server: Server) -> None:
    """A value that is neither true nor false is a 422 that names the field."""
    refused(server, "stream", ["maybe", 2, [], {}])


@protocol(Level.MUST, Evidence.EXACT)
def false_is_a_whole_answer(server: Server) -> None:
    """With false, and without the field, the answer is one JSON object."""
    for value in False, ...:
        reply = server.post(stream=value)
        demand_success(reply)
        kind = reply.headers.get("content-type", "")
        require(kind.startswith("application/json"), "application/json", kind, reply.at)
        require("choices" in reply.json, "an answer with choices", reply.json, reply.at)


@protocol(Level.MUST, Evidence.EXACT, rests_on="HTML: server-sent events")
def is_framed(server: Server) -> None:
    """The body is a sequence of `data: {json}`, each with an empty line after it; at the end
    `data: [DONE]`, and nothing more.
    """
    stream = server.stream()
    frames = stream.text.split("\n\n")
    equal(frames[-2:], ["data: [DONE]", ""], "the end", stream.at)
    for frame in frames[:-2]:
        require(frame.startswith("data: {"), "data: {json}", repr(frame[:200]), stream.at)
        require("\n" not in frame and "\r" not in frame, "one line", repr(frame), stream.at)
        read(frame.removeprefix("data: "), stream)


def read(text: str, stream: Stream) -> None:
    try:
        json.loads(text)
    except ValueError:
        raise Failed("JSON", text[:200], at=stream.at) from None


@protocol(Level.MUST, Evidence.EXACT)
def an_event_has_one_choice(server: Server) -> None:
    """Each event has exactly one choice; none has an empty list."""
    stream = server.stream(**several(server))
    for event in stream.events:
        choices = event.get("choices")
        require(isinstance(choices, list) and len(choices) == 1, "one choice", event, stream.at)


@protocol(Level.MUST, Evidence.EXACT)
def events_are_of_one_answer(server: Server) -> None:
    """All events have the same id, `created` and model, and the object `text_completion`."""
    stream = server.stream(**several(server))
    heads = [{k: e.get(k) for k in ("id", "object", "created", "model")} for e in stream.events]
    first = heads[0] if heads else {}
    well = all(first.values()) and first.get("object") == "text_completion"
    require(well, "an id, the object text_completion, created and model", first, stream.at)
    equal(first["model"], server.target.model, "model", stream.at)
    require(all(h == first for h in heads), f"{first} in each event", heads, stream.at)


@protocol(Level.MUST, Evidence.EXACT)
def the_reason_comes_once(server: Server) -> None:
    """A finish_reason is on the last event of its choice, and on no other."""
    stream = server.stream(**several(server))
    for index in {part.get("index") for part in stream.parts}:
        reasons = [p.get("finish_reason") for p in stream.parts if p.get("index") == index]
        expected = [None] * (len(reasons) - 1)
        require(
            reasons[:-1] == expected and reasons[-1] in ("stop", "length"),
            f"finish_reason on the last event of choice {index} only",
            reasons,
            stream.at,
        )


@protocol(Level.MUST, Evidence.EXACT)
def comes_in_parts(server: Server) -> None:
    """A text of several tokens comes in several events."""
    for _ in range(3):  # tokens may be sent together if the reader is slow
        stream = server.stream(max_tokens=8)
        if len(stream.answer.text.split()) < 2:
            raise Inconclusive("the text has no two words", at=stream.at)
        parts = [p.get("text") for p in stream.parts if p.get("text")]
        if len(parts) > 1:
            return
    raise Failed("several events with text", parts, at=stream.at)


@protocol(Level.MUST, Evidence.EXACT)
def an_error_has_its_status(server: Server) -> None:
    """An error that is known before the first token has its status, as without a stream."""
    names_field(server.post(stream=True, temperature=5), "temperature")
    error_of(server.post(stream=True, model="no-such-model"), 404)


@protocol(Level.MUST, Evidence.EXACT)
def usage_comes_with_the_last_reason(server: Server) -> None:
    """Usage is on the event that carries the last choice's finish_reason, and on no other."""
    stream = server.stream(stream_options={"include_usage": True}, **several(server))
    events = stream.events
    having = [i for i, e in enumerate(events) if e.get("usage")]
    ends = [i for i, e in enumerate(events) if any(ended(c) for c in e.get("choices") or ())]
    seen = f"on {having} of {len(events)} events; reasons on {ends}"
    expected = "usage on the event of the last reason"
    if having and having[-1] == len(events) - 1 and not events[-1].get("choices"):
        note = "usage in an event of its own, without choices"
        raise NonStrict(expected, seen, note=note, at=stream.at)
    require(having == ends[-1:] == [len(events) - 1], expected, seen, stream.at)


def ended(choice: Json) -> bool:
    return choice.get("finish_reason") is not None


def as_whole(server: Server, **fields: Any) -> list[Choice]:
    """The choices of a request, after holding those of its stream against them."""
    whole = server.ask(**fields).choices
    same(whole, server.stream(**fields).answer.choices, "the same whole and in parts")
    return whole


@consistency(Level.MUST, Evidence.METAMORPHIC)
def says_what_the_whole_says(server: Server) -> None:
    """The parts, joined, are the text, the reasons and the numbers of the answer without a
    stream.
    """
    [choice] = as_whole(server)
    as_whole(server, prompt="The", max_tokens=1)
    if has(server, LOGPROBS):
        as_whole(server, logprobs=0)
        as_whole(server, logprobs=3)
    if has(server, TOKEN_IDS):
        as_whole(server, logprobs=2, return_tokens_as_token_ids=True)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def says_what_the_whole_says_before_a_stop(server: Server) -> None:
    """Nothing of a stop string is sent, though it may begin in one event and end in another; what
    only looked like its beginning is.
    """
    rows = {"logprobs": 1} if has(server, LOGPROBS) else {}
    for prompt in PROMPT, "The":
        text = server.ask(prompt=prompt).text
        for start, end in (1, 3), (2, 6), (4, 5):
            if stop := text[start:end]:
                as_whole(server, prompt=prompt, stop=[f"{stop}§", stop, f"{text[:2]}§"])
                as_whole(server, prompt=prompt, stop=stop, **rows)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEVERAL, SEEDS)
def says_what_the_whole_says_of_several(server: Server) -> None:
    """The parts of n choices, joined by their indices, are those of the answer without a stream."""
    for seed in 1, 2:
        as_whole(server, n=3, seed=seed, **WARM)


@consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS)
def says_what_the_whole_says_of_a_list(server: Server) -> None:
    """The parts of a list's choices, joined, are those of the answer without a stream."""
    as_whole(server, prompt=[PROMPT, "The", PROMPT])


@consistency(Level.MUST, Evidence.METAMORPHIC, ECHO)
def says_what_the_whole_says_with_an_echo(server: Server) -> None:
    """With echo the parts, joined, are the answer without a stream: the prompt comes once, before
    the output, with its rows.
    """
    as_whole(server, echo=True, **(several(server) if has(server, SEEDS) else {}))
    if has(server, ECHOED_ROWS):
        as_whole(server, echo=True, logprobs=2)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS, rests_on="tokenizer.detokenizer.Detokenizer")
def sends_no_half_character(server: Server) -> None:
    """A character whose bytes are in several tokens comes whole, with the last of them; what stands
    for a broken one (U+FFFD) comes as often as in the answer without a stream.
    """
    found = 0
    for _ in range(TRIES):
        fields = JUMBLE | {"seed": server.rng.getrandbits(31)}
        whole = server.ask(**fields)
        if any(ord(c) > 0x7F and c != "\ufffd" for c in whole.text):
            found += 1
            joined = server.stream(**fields).answer
            equal(joined.text, whole.text, "the joined text", joined.at)
    if not found:
        raise Inconclusive("the model wrote no character of several bytes")
