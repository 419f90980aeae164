"""Bodies in pieces: byte for byte those of pydantic, bounded, encoded off the event loop."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from api.choices import ChoiceBuilder, ChoiceUpdate
from api.encoding import PART, SLICE, LogprobsJson, cut, encode, send_pieces
from api.engine import ServedModel
from api.prepare import PreparedRequest
from api.response import ResponseBuilder
from api.schema.response import Choice, Chunk, Completion, Logprobs
from reference.output_text import LogprobsEntry, TextDelta
from reference.params import CompletionParams

TEXTS = st.text(max_size=6) | st.sampled_from(
    ['"tokens":[]', '"choices":[]', "[]", '\\"', "\u2028"]
)
NUMBERS = st.floats(-9999, 0)
ENTRIES = st.builds(
    LogprobsEntry,
    token=TEXTS,
    logprob=st.none() | NUMBERS,
    top=st.none() | st.dictionaries(TEXTS, NUMBERS, max_size=3),
    offset=st.integers(0, 10**9),
)
BLOCKS = st.lists(ENTRIES, max_size=3)
DELTAS = st.builds(
    TextDelta,
    text=TEXTS,
    entries=BLOCKS.map(tuple),
    finish_reason=st.sampled_from([None, "stop", "length"]),
    stop_reason=st.none() | TEXTS | st.integers(0, 9),
)


def builder_of(served: ServedModel, name: str, has_logprobs: bool) -> ResponseBuilder:
    prepared = PreparedRequest(
        served_model=replace(served, name=name),
        params=CompletionParams(logprobs=2 if has_logprobs else None),
        prompts=["w"],
        ids=[[0, 24]],
        images=[()],
        principal="",
    )
    return ResponseBuilder(prepared)


def logprobs_json(entries: Sequence[LogprobsEntry]) -> LogprobsJson:
    result = LogprobsJson()
    result.append(entries)
    return result


def expected_choice(
    index: int, echoed: Sequence[LogprobsEntry] | None, deltas: Sequence[TextDelta], logprobs: bool
) -> Choice:
    """Return the choice as a pydantic model of all entries."""
    entries = [*(echoed or ()), *(entry for delta in deltas for entry in delta.entries)]
    columns = Logprobs(
        tokens=[e.token for e in entries],
        token_logprobs=[e.logprob for e in entries],
        top_logprobs=[e.top for e in entries],
        text_offset=[e.offset for e in entries],
    )
    return Choice.model_validate(
        {
            "index": index,
            "text": "".join(delta.text for delta in deltas),
            "logprobs": columns if logprobs else None,
            "finish_reason": deltas[-1].finish_reason,
            "stop_reason": deltas[-1].stop_reason,
        }
    )


@given(
    name=TEXTS,
    choices=st.lists(
        st.tuples(st.none() | BLOCKS, st.lists(DELTAS, min_size=1, max_size=4)), max_size=3
    ),
    has_logprobs=st.booleans(),
)
def test_pieces_of_a_whole_response(
    toy_served: ServedModel, name: str, choices: Any, has_logprobs: bool
) -> None:
    builder = builder_of(toy_served, name, has_logprobs)
    built, expected = [], []
    for i, (echoed, deltas) in enumerate(choices):
        shared = None if echoed is None else logprobs_json(echoed)
        built.append(ChoiceBuilder())
        for delta in deltas:
            built[-1].add(ChoiceUpdate(i, delta, None, shared))
            shared = None
        expected.append(expected_choice(i, echoed, deltas, has_logprobs))
    completion = Completion(
        id=builder.id,
        created=builder.created,
        model=name,
        system_fingerprint=builder.prepared.served_model.fingerprint,
        choices=expected,
        usage=builder.usage,
    )
    assert b"".join(builder.response_json(built)).decode() == completion.model_dump_json()


@given(
    name=TEXTS,
    echoed=st.none() | BLOCKS,
    delta=DELTAS,
    has_usage=st.booleans(),
    has_logprobs=st.booleans(),
)
def test_pieces_of_an_event(
    toy_served: ServedModel,
    name: str,
    echoed: list[LogprobsEntry] | None,
    delta: TextDelta,
    has_usage: bool,
    has_logprobs: bool,
) -> None:
    builder = builder_of(toy_served, name, has_logprobs)
    shared = None if echoed is None else logprobs_json(echoed)
    update = ChoiceUpdate(3, delta, builder.usage if has_usage else None, shared)
    fields = {
        "id": builder.id,
        "object": "text_completion",
        "created": builder.created,
        "model": name,
        "system_fingerprint": builder.prepared.served_model.fingerprint,
        "choices": [expected_choice(3, echoed, [delta], has_logprobs)],
    }
    chunk = Chunk.model_validate(fields | ({"usage": builder.usage} if has_usage else {}))
    json = builder.event_json(update)
    whole = json if isinstance(json, bytes) else b"".join(json)
    assert whole.decode() == chunk.model_dump_json(exclude_unset=True)


@given(
    st.lists(
        st.binary(max_size=40)
        | st.sampled_from([PART - 1, PART, PART + 1, 5 * PART + 7]).map(bytearray),
        max_size=12,
    )
)
def test_parts_of_bounded_size(pieces: list[bytes]) -> None:
    parts = list(cut(pieces))
    assert b"".join(parts) == b"".join(pieces)
    assert all(PART <= len(part) <= 2 * PART for part in parts[:-1])
    assert all(0 < len(part) <= 2 * PART for part in parts[-1:])


def entries_of(label: str, count: int, consumed: list[str]) -> Iterator[LogprobsEntry]:
    """Yield entries, and record each with its thread."""
    for i in range(count):
        assert threading.current_thread() is not threading.main_thread()
        consumed.append(label)
        yield LogprobsEntry(f"{label}{i}", -1.0, {label: -1.0}, i)


@pytest.mark.parametrize("count", [0, 1, SLICE, SLICE + 1, 5 * SLICE])
def test_long_prompts_take_turns_on_another_thread(count: int) -> None:
    consumed: list[str] = []

    async def encode_both() -> list[LogprobsJson]:
        return await asyncio.gather(*(encode(entries_of(x, count, consumed)) for x in "ab"))

    for label, result in zip("ab", asyncio.run(encode_both()), strict=True):
        assert result == logprobs_json(
            [LogprobsEntry(f"{label}{i}", -1.0, {label: -1.0}, i) for i in range(count)]
        )
    runs = [len(list(group)) for _, group in groupby(consumed)]
    assert sum(runs) == 2 * count and max(runs, default=0) <= SLICE


def test_other_tasks_run_between_parts() -> None:
    turns, turns_at_message = 0, []

    async def send(message: Message) -> None:
        turns_at_message.append(turns)

    async def run() -> None:
        nonlocal turns
        task = asyncio.create_task(send_pieces(send, [bytes(9 * PART)]))
        while not task.done():
            turns += 1
            await asyncio.sleep(0)

    asyncio.run(run())
    assert len(turns_at_message) == 9 and len(set(turns_at_message)) == 9


def test_slow_client_holds_one_part() -> None:
    """Pieces are made when the client has received the previous part."""
    made = 0

    def pieces() -> Iterator[bytes]:
        nonlocal made
        for _ in range(9):
            made += 1
            yield bytes(PART)

    async def blocked(message: Message) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await send_pieces(blocked, pieces())

    asyncio.run(run())
    assert made == 1
