"""This engine: python -m benchmarks.workers.jax_worker CHECKPOINT SLOTS PRECISION [--invariant]

All batch sizes are used unless --invariant is given, since no peer is batch-invariant.
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
from benchmarks.decoding import VARIANTS
from benchmarks.workers.protocol import serve
from jax_backend.launch import launch
from jax_backend.serving.engine import JaxEngine
from reference.model import checkpoint
from reference.params import CompletionParams
from reference.request import Event, Request, RequestFinished, TokenGenerated
from reference.tokenizer.vocabulary import Vocabulary

_fresh = itertools.count(1)


def fresh_prompt(length: int, stream: int) -> list[int]:
    """Return a prompt that shares no prefix with an earlier one."""
    return [1, 300 + next(_fresh) % 9000, 300 + stream, *range(400, 400 + length - 3)]


def decode(
    engine: JaxEngine, streams: int, prompt: int, tokens: int, variant: str = "greedy"
) -> float:
    """Return tokens per second, of `tokens` for each stream, after each has its first token."""
    counter = TokenCounter(streams, tokens)
    request_ids = []
    for i in range(streams):
        max_tokens = tokens + 4 * streams + 16
        params = CompletionParams(max_tokens=max_tokens, seed=i, **VARIANTS[variant])
        request = Request.of(fresh_prompt(prompt, i), params)
        request_ids.append(engine.submit(request, partial(counter.on_event, i)))
    counter.done.wait()
    for request_id in request_ids:
        engine.abort(request_id)
    counter.finished.acquire()
    assert counter.remaining == 0, "a stream finished too early"
    return streams * tokens / (counter.end - counter.begin)


class TokenCounter:
    """Counts tokens on the engine's own thread, so that no other thread wakes for each.

    begin, end: when every stream had its first token, and when `remaining` more had arrived.
    """

    def __init__(self, streams: int, tokens: int) -> None:
        self.waiting, self.running = set(range(streams)), streams
        self.remaining = streams * tokens
        self.begin = self.end = 0.0
        self.done, self.finished = threading.Event(), threading.Semaphore(0)

    def on_event(self, stream: int, event: Event) -> None:
        if isinstance(event, RequestFinished):
            self.running -= 1
            self.done.set()
            if not self.running:
                self.finished.release()
        elif isinstance(event, TokenGenerated) and self.waiting:
            self.waiting.discard(stream)
            self.begin = time.perf_counter()
        elif isinstance(event, TokenGenerated) and self.remaining:
            self.remaining -= 1
            if not self.remaining:
                self.end = time.perf_counter()
                self.done.set()


def prefill(engine: JaxEngine, prompt: int, cached: bool = False) -> float:
    """Return prompt tokens per second until the first output token. cached: the same prompt is sent
    once before, so that all its full pages are in the prefix cache.
    """
    ids = fresh_prompt(prompt, 0)
    if cached:
        time_to_first_token(engine, ids)
    return prompt / time_to_first_token(engine, ids)


def time_to_first_token(engine: JaxEngine, ids: list[int]) -> float:
    """Return the seconds from submission to the first output token."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    begin = time.perf_counter()
    params = CompletionParams(max_tokens=1, temperature=0)
    engine.submit(Request.of(ids, params), events.put)
    while not isinstance(event := events.get(), TokenGenerated):
        assert not isinstance(event, RequestFinished), event
    seconds = time.perf_counter() - begin
    while not isinstance(events.get(), RequestFinished):
        pass
    return seconds


def main() -> None:
    directory, slots, precision, *options = sys.argv[1:]
    vocab_size = checkpoint.read_config(Path(directory)).vocab_size
    launched = launch(
        Path(directory),
        Vocabulary((b"x",) * vocab_size, disallowed_token_ids=frozenset({0, 1, 2})),
        dtype=precision,
        slots=int(slots),
        cache_tokens=max(int(slots) * 512, 4096),
        batch_invariant="--invariant" in options,
        speculate="off",
    )
    engine = launched.engine
    device = f"jax {jax.__version__}, {jax.devices()[0].device_kind}"
    measurements = {
        "decode": partial(decode, engine),
        "prefill": partial(prefill, engine),
        "bandwidth": roofline.bandwidth,
        "flops": partial(roofline.flops, precision),
    }
    serve(measurements, f"{device}, batch sizes {engine.executor.batch_sizes}")
    engine.close()


if __name__ == "__main__":
    main()
