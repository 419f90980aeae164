"""This engine: python -m benchmarks.workers.ours CHECKPOINT SLOTS PRECISION [--invariant]

No peer promises the same bits in a crowd, so every width is used unless it is told otherwise.
"""

import itertools
import queue
import sys
import threading
import time
from functools import partial
from pathlib import Path

import jax

from benchmarks import roofline
from benchmarks.decoding import WAYS
from benchmarks.workers.protocol import answer
from jax_backend.launch import start
from jax_backend.serving.engine import JaxEngine
from reference.params import CompletionParams
from reference.request import Event, Request, RequestFinished, TokenGenerated
from reference.tokenizer.vocabulary import Vocabulary

_fresh = itertools.count(1)


def prompt_of(length: int, stream: int) -> list[int]:
    """Tokens that no earlier prompt began with."""
    return [1, 300 + next(_fresh) % 9000, 300 + stream, *range(400, 400 + length - 3)]


def decode(engine: JaxEngine, streams: int, prompt: int, tokens: int, way: str = "greedy") -> float:
    """Tokens per second, of `tokens` for each stream, from when every one has its first."""
    count = Count(streams, tokens)
    request_ids = []
    for i in range(streams):
        params = CompletionParams(max_tokens=tokens + 4 * streams + 16, seed=i, **WAYS[way])
        request = Request.of(prompt_of(prompt, i), params)
        request_ids.append(engine.submit(request, partial(count.take, i)))
    count.done.wait()
    for request_id in request_ids:
        engine.abort(request_id)
    count.ended.acquire()
    assert count.left == 0, "a stream ended before its time"
    return streams * tokens / (count.last - count.first)


class Count:
    """Of what streams bring, on the engine's own thread: no other has to wake for a token.

    first, last: when every stream had begun, and when `left` tokens more were there.
    """

    def __init__(self, streams: int, tokens: int) -> None:
        self.waiting, self.running = set(range(streams)), streams
        self.left = streams * tokens
        self.first = self.last = 0.0
        self.done, self.ended = threading.Event(), threading.Semaphore(0)

    def take(self, stream: int, event: Event) -> None:
        if isinstance(event, RequestFinished):
            self.running -= 1
            self.done.set()
            if not self.running:
                self.ended.release()
        elif isinstance(event, TokenGenerated) and self.waiting:
            self.waiting.discard(stream)
            self.first = time.perf_counter()
        elif isinstance(event, TokenGenerated) and self.left:
            self.left -= 1
            if not self.left:
                self.last = time.perf_counter()
                self.done.set()


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
    while not isinstance(event := arrived.get(), TokenGenerated):
        assert not isinstance(event, RequestFinished), event
    took = time.perf_counter() - begin
    while not isinstance(arrived.get(), RequestFinished):
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
        "bandwidth": roofline.bandwidth,
        "products": partial(roofline.products, precision),
    }
    answer(answers, f"{device}, widths {engine.device.widths}")
    engine.close()


if __name__ == "__main__":
    main()
