"""JSON bodies in parts of bounded size, byte for byte as pydantic writes them.

A response can have millions of log-probabilities. Their arrays are encoded a slice at a time
(`LogprobsJson`), inserted into the JSON of the rest without a copy (`fill_arrays`), and cut into
parts for sending (`cut`). So no step occupies the event loop for long.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from pydantic_core import to_json
from starlette.types import Send

from reference.output_text import LogprobsEntry

SLICE = 64  # tokens whose entries are encoded at once
PART = 2**16  # bytes that are sent at once

Buffer = bytes | bytearray | memoryview

# Long responses are encoded on one thread: more would compete with the event loop for the
# interpreter.
ENCODER = ThreadPoolExecutor(1, "encoder")


@dataclass(frozen=True)
class LogprobsJson:
    """The columns of `logprobs`: JSON values separated by commas, without the brackets."""

    tokens: bytearray = field(default_factory=bytearray)
    token_logprobs: bytearray = field(default_factory=bytearray)
    top_logprobs: bytearray = field(default_factory=bytearray)
    text_offset: bytearray = field(default_factory=bytearray)

    def append(self, entries: Sequence[LogprobsEntry]) -> None:
        append_items(self.tokens, [entry.token for entry in entries])
        append_items(self.token_logprobs, [entry.logprob for entry in entries])
        append_items(self.top_logprobs, [entry.top for entry in entries])
        append_items(self.text_offset, [entry.offset for entry in entries])

    def append_slice(self, entries: Iterator[LogprobsEntry]) -> bool:
        """Append the next entries, at most SLICE. Return whether there were any."""
        chunk = list(islice(entries, SLICE))
        self.append(chunk)
        return bool(chunk)


def append_items(column: bytearray, items: Sequence[object]) -> None:
    if items:
        column += b"," if column else b""
        column += to_json(items, inf_nan_mode="null")[1:-1]


async def encode(entries: Iterator[LogprobsEntry]) -> LogprobsJson:
    """Encode entries on another thread, a slice at a time: other responses get their turn."""
    result = LogprobsJson()
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(ENCODER, result.append_slice, entries):
        pass
    return result


def fill_arrays(json: bytes, arrays: Mapping[str, Iterable[Buffer]]) -> Iterator[Buffer]:
    """Yield a JSON object in pieces, with these contents in its empty arrays.

    arrays: in the order of the object's fields. Their names do not occur in a string of the object,
    where quotes are escaped.
    """
    for name, contents in arrays.items():
        start = f'"{name}":['.encode()
        head, json = json.split(start + b"]", 1)
        yield head + start
        yield from contents
        yield b"]"
    yield json


def joined(groups: Iterable[Iterable[Buffer]]) -> Iterator[Buffer]:
    """Yield the pieces of each group, with commas between the groups."""
    separator = b""
    for group in groups:
        yield separator
        yield from group
        separator = b","


def cut(pieces: Iterable[Buffer]) -> Iterator[bytes]:
    """Yield the bytes of the pieces in parts of PART to 2 · PART bytes; the last may be shorter."""
    part = bytearray()
    for piece in pieces:
        for start in range(0, len(piece), PART):
            part += piece if len(piece) <= PART else memoryview(piece)[start : start + PART]
            if len(part) >= PART:
                yield bytes(part)
                part.clear()
    if part:
        yield bytes(part)


async def send_pieces(send: Send, pieces: Iterable[Buffer]) -> None:
    """Send a part of a response's body; more follows.

    `send` waits while the client reads slowly. Otherwise it may return without suspending, so other
    tasks get a turn after each full part.
    """
    for part in cut(pieces):
        await send({"type": "http.response.body", "body": part, "more_body": True})
        if len(part) >= PART:
            await asyncio.sleep(0)
