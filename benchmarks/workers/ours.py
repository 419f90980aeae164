"""This engine: python -m benchmarks.workers.ours CHECKPOINT SLOTS PRECISION [--invariant]

No peer promises the same bits in a crowd, so every width is used unless it is told otherwise.
"""

import itertools
import queue
import sys
import time
from functools import partial
from pathlib import Path

import jax

from benchmarks import floor
from benchmarks.decoding import WAYS
from benchmarks.workers.answering import answer
from jax_backend.engine import JaxEngine
from jax_backend.start import start
from reference.params import CompletionParams
from reference.request import End, Event, Prompt, Request, Token
from reference.vocabulary import Vocabulary

_fresh = itertools.count(1)


def prompt_of(length: int, stream: int) -> list[int]:
    """Tokens that no earlier prompt began with."""
    return [1, 300 + next(_fresh) % 9000, 300 + stream, *range(400, 400 + length - 3)]


def decode(engine: JaxEngine, streams: int, prompt: int, tokens: int, way: str = "greedy") -> float:
    """Tokens per second, of `tokens` for each stream, from when every one has its first."""
    arrived: queue.SimpleQueue[tuple[float, int, Event]] = queue.SimpleQueue()
    tickets = []
    for i in range(streams):
        params = CompletionParams(max_tokens=tokens + 4 * streams + 16, seed=i, **WAYS[way])
        request = Request.of(prompt_of(prompt, i), params)
        deliver = partial(stamped, arrived, i)
        tickets.append(engine.submit(request, deliver))
    waiting = set(range(streams))
    while waiting:
        first, i, event = arrived.get()
        assert isinstance(event, Token), event
        waiting.discard(i)
    for _ in range(streams * tokens):
        last, _, event = arrived.get()
        assert isinstance(event, Token), event
    for ticket in tickets:
        engine.abort(ticket)
    ended = 0
    while ended < streams:
        ended += isinstance(arrived.get()[2], End)
    return streams * tokens / (last - first)


def stamped(arrived: queue.SimpleQueue[tuple[float, int, Event]], i: int, event: Event) -> None:
    if not isinstance(event, Prompt):
        arrived.put((time.perf_counter(), i, event))


def prefill(engine: JaxEngine, prompt: int, known: bool = False) -> float:
    """Tokens of a prompt that are read per second, up to the first token of the answer. known: it
    was asked for just before, so that all full pages of it are there.
    """
    ids = prompt_of(prompt, 0)
    if known:
        first_token(engine, ids)
    return prompt / first_token(engine, ids)


def first_token(engine: JaxEngine, ids: list[int]) -> float:
    """Seconds until it comes."""
    arrived: queue.SimpleQueue[Event] = queue.SimpleQueue()
    begin = time.perf_counter()
    params = CompletionParams(max_tokens=1, temperature=0)
    engine.submit(Request.of(ids, params), arrived.put)
    while not isinstance(event := arrived.get(), Token):
        assert not isinstance(event, End), event
    took = time.perf_counter() - begin
    while not isinstance(arrived.get(), End):
        pass
    return took


def main() -> None:
    directory, slots, precision, *rest = sys.argv[1:]
    started = start(
        Path(directory),
        lambda config: Vocabulary((b"x",) * config.vocab_size, never=frozenset({0, 1, 2})),
        dtype=precision,
        slots=int(slots),
        cache_tokens=max(int(slots) * 512, 4096),
        invariant="--invariant" in rest,
    )
    engine = started.engine
    device = f"jax {jax.__version__}, {jax.devices()[0].device_kind}"
    answers = {
        "decode": partial(decode, engine),
        "prefill": partial(prefill, engine),
        "bandwidth": floor.bandwidth,
        "products": partial(floor.products, precision),
    }
    answer(answers, f"{device}, widths {engine.device.widths}")
    engine.close()


if __name__ == "__main__":
    main()
