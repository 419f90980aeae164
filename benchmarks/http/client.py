"""One streaming request, and the times of its events. The events are parsed after its end, so that
parsing takes no time from the server, which runs on the same machine.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.http.workloads import Client, Turn, Workload

TIMEOUT = 600.0  # seconds without a byte
Chunks = list[tuple[float, bytes]]  # as received, with the time


@dataclass(frozen=True)
class Outcome:
    """The end of a request.

    seconds: from sending it to each event that has text. num_tokens: of the output, by the
    server's own count. output: their ids, if they were requested. error: None if it was completed.
    """

    group: str
    seconds: tuple[float, ...] = ()
    num_tokens: int = 0
    output: tuple[int, ...] = ()
    error: str | None = None


class InvalidStream(ValueError):
    """A stream that has an error, or no end."""


def body(model: str, turn: Turn, prompt: tuple[int, ...], needs_ids: bool) -> dict[str, Any]:
    """Return a greedy request that generates all of its tokens.

    `ignore_eos` keeps a random model from stopping; `repeat_penalty` switches a default of
    llama.cpp's older servers off. Other servers ignore them. needs_ids: request the output's ids.
    """
    fields = {
        "model": model,
        "prompt": prompt,
        "max_tokens": turn.tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
        "repeat_penalty": 1.0,
    }
    return fields | ({"logprobs": 1, "return_tokens_as_token_ids": True} if needs_ids else {})


async def send(
    http: httpx.AsyncClient,
    model: str,
    turn: Turn,
    prompt: tuple[int, ...],
    needs_ids: bool = False,
) -> Outcome:
    """Send a request and read its stream to the end. Errors are part of the outcome."""
    chunks: Chunks = []
    start = time.perf_counter()
    try:
        request = body(model, turn, prompt, needs_ids)
        async with http.stream("POST", "completions", json=request) as reply:
            async for chunk in reply.aiter_bytes():
                chunks.append((time.perf_counter() - start, chunk))
        if reply.status_code != 200:
            text = b"".join(chunk for _, chunk in chunks).decode(errors="replace")
            raise InvalidStream(f"status {reply.status_code}: {text[:200]}")
        return parse(chunks, turn.group, needs_ids)
    except (httpx.HTTPError, InvalidStream) as error:
        return Outcome(turn.group, error=f"{type(error).__name__}: {error}")


def parse(chunks: Chunks, group: str, needs_ids: bool = False) -> Outcome:
    """Return the outcome of a stream. Raises InvalidStream."""
    seconds: list[float] = []
    output: list[int] = []
    num_tokens: int | None = None
    *events, (_, last) = list(split_events(chunks)) or [(0.0, b"")]
    if last != b"[DONE]":
        raise InvalidStream("the stream ended without [DONE]")
    for second, data in events:
        try:
            event = json.loads(data)
        except ValueError:
            raise InvalidStream(f"an event is not JSON: {data[:100]!r}") from None
        if "error" in event:
            raise InvalidStream(f"error: {json.dumps(event['error'])[:200]}")
        if usage := event.get("usage"):
            num_tokens = usage["completion_tokens"]
        for choice in event.get("choices") or ():
            seconds += [second] if choice.get("text") else []
            output += token_ids(choice.get("logprobs") or {}) if needs_ids else ()
    if num_tokens is None:
        num_tokens = len(seconds)
    if not seconds or not num_tokens:
        raise InvalidStream("the stream has no tokens")
    if needs_ids and len(output) != num_tokens:
        raise InvalidStream(f"{len(output)} token ids are reported of {num_tokens} tokens")
    return Outcome(group, tuple(seconds), num_tokens, tuple(output))


def split_events(chunks: Iterable[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """Yield the data of each event, with the time at which it was complete, without comments."""
    rest = b""
    for second, chunk in chunks:
        *complete, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in complete:
            if event.startswith(b"data:"):
                yield second, event.removeprefix(b"data:").strip()


def token_ids(logprobs: dict[str, Any]) -> list[int]:
    """Return the token ids of a choice, from `token_id:<id>` or from llama.cpp's `id`."""
    if "content" in logprobs:
        return [int(entry["id"]) for entry in logprobs["content"]]
    return [int(token.removeprefix("token_id:")) for token in logprobs.get("tokens", ())]


async def run_client(http: httpx.AsyncClient, model: str, client: Client) -> list[Outcome]:
    """Send the turns of a client. After a failure, the other turns fail too."""
    await asyncio.sleep(client.start)
    outcomes: list[Outcome] = []
    history: tuple[int, ...] = ()
    for i, turn in enumerate(client.turns):
        await asyncio.sleep(turn.pause)
        prompt = history + turn.prompt if turn.continues else turn.prompt
        needs_ids = any(later.continues for later in client.turns[i + 1 : i + 2])
        outcome = await send(http, model, turn, prompt, needs_ids)
        history = prompt + outcome.output
        outcomes.append(outcome)
        if outcome.error is not None:
            error = f"a turn before failed: {outcome.error}"
            outcomes += [Outcome(later.group, error=error) for later in client.turns[i + 1 :]]
            break
    return outcomes


async def run_workload(url: str, model: str, workload: Workload) -> tuple[float, list[Outcome]]:
    """Run a workload against a server. Return its duration in seconds, and the outcomes."""
    # A server may close a connection after some requests, just as the next one is sent.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT, limits=limits) as http:
        for turn in workload.preparation:
            await send(http, model, turn, turn.prompt)
        start = time.perf_counter()
        clients = [run_client(http, model, client) for client in workload.clients]
        outcomes = await asyncio.gather(*clients)
        return time.perf_counter() - start, [o for part in outcomes for o in part]
