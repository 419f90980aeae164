"""Requests to a server: in a closed loop, or at a rate whatever the server does."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

Json = dict[str, Any]
PATH = "/v1/completions"


@dataclass(frozen=True)
class Outcome:
    """The end of one request. status: of the response, 0 if the client has aborted it. seconds:
    until the last byte. tokens: of the output. text: of all choices.
    """

    status: int
    seconds: float
    tokens: int = 0
    text: str = ""


async def send(
    client: httpx.AsyncClient, body: Json, key: str = "", abort_after: float | None = None
) -> Outcome:
    """Send one request. abort_after: seconds after which the client disconnects."""
    start = time.monotonic()
    headers = {"xi-api-key": key} if key else {}
    try:
        async with asyncio.timeout(abort_after):
            response = await client.post(PATH, json=body, headers=headers)
    except TimeoutError:
        return Outcome(0, time.monotonic() - start)
    seconds = time.monotonic() - start
    if response.status_code != 200:
        return Outcome(response.status_code, seconds)
    if body.get("stream"):
        lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
        if lines.pop() != "[DONE]":
            return Outcome(-1, seconds)
        events = [json.loads(line) for line in lines]
        if any("error" in event for event in events):
            return Outcome(-1, seconds)
        texts: dict[int, str] = {}
        for choice in (choice for event in events for choice in event["choices"]):
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        usage, text = events[-1]["usage"], "\0".join(texts[i] for i in sorted(texts))
    else:
        answer = response.json()
        usage = answer["usage"]
        text = "\0".join(choice["text"] for choice in answer["choices"])
    return Outcome(200, seconds, usage["completion_tokens"], text)


def client_of(address: str) -> httpx.AsyncClient:
    # The server closes idle connections after 5 seconds: the client must be faster.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=2)
    return httpx.AsyncClient(base_url=address, timeout=600, limits=limits)


async def closed_loop(
    address: str, make: Callable[[int], Json], clients: int, seconds: float, key: str = ""
) -> list[Outcome]:
    """Keep a number of requests in flight for some time. make: the body of request i."""
    numbers, outcomes = itertools.count(), []
    end = time.monotonic() + seconds

    async def run() -> None:
        while time.monotonic() < end:
            outcomes.append(await send(client, make(next(numbers)), key))

    async with client_of(address) as client:
        await asyncio.gather(*(run() for _ in range(clients)))
    return outcomes


async def open_loop(
    address: str, make: Callable[[int], Json], rate: float, seconds: float, key: str = ""
) -> list[Outcome]:
    """Send requests at a rate in requests per second, with exponential pauses."""
    randomness = random.Random(0)
    tasks: list[asyncio.Task[Outcome]] = []
    async with client_of(address) as client:
        arrival = time.monotonic()
        end = arrival + seconds
        while arrival < end:
            await asyncio.sleep(arrival - time.monotonic())
            tasks.append(asyncio.create_task(send(client, make(len(tasks)), key)))
            arrival += randomness.expovariate(rate)
        return await asyncio.gather(*tasks)


def percentile(values: list[float], share: float) -> float:
    """Return the value at a share of the sorted values; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
