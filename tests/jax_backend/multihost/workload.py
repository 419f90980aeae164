"""A workload that exercises everything that several hosts must agree on, and its answers."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from conformance.parity.harness.requests import FORMATS, RequestOutput, RequestSpec, collect
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.settings import Settings
from reference.model.vision_config import VisionConfig
from reference.request import Request

LARGE = Settings(
    batch_sizes=(1, 2, 4), num_pages=160, page_size=32, prefill_sizes=(16, 64), segment_size=16
)
TIGHT = Settings(
    batch_sizes=(2, 4), num_pages=8, page_size=32, prefill_sizes=(16, 64), segment_size=16
)
CONTEXT = 256
OPTIONAL: dict[str, Any] = {
    "temperature": 1.5,
    "top_p": 0.8,
    "min_p": 0.05,
    "top_k": 20,
    "logprobs": 4,
    "echo": True,
    "stop_token_ids": (5,),
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "repetition_penalty": 1.2,
    "n": 3,
    "prompt_cache_key": "key",
}


def random_request(
    rng: np.random.Generator, vocab_size: int, vision: VisionConfig | None
) -> Request:
    """Return a request with any combination of parameters; prompts often share a prefix."""
    prefix = [i % vocab_size for i in range(int(rng.choice([0, 40, 96])))]
    prompt = [*prefix, *rng.integers(0, vocab_size, int(rng.integers(1, 40))).tolist()]
    images = []
    if vision is not None:
        prompt = [token for token in prompt if token != vision.image_token_id] or [0]
        images = [(int(rng.integers(0, len(prompt))), i) for i in range(int(rng.integers(0, 3)))]
    chosen = {name: value for name, value in OPTIONAL.items() if rng.random() < 0.4}
    params = {
        "max_tokens": int(rng.integers(1, 24)),
        "seed": int(rng.integers(2**40)),
        "response_format": FORMATS[rng.integers(len(FORMATS))],
        **chosen,
    }
    principal = str(rng.choice(["me", "you"]))
    return RequestSpec(prompt, params, principal, vision, images).request


def answers(
    large: JaxEngine, tight: JaxEngine, vocab_size: int, vision: VisionConfig | None
) -> Iterator[str]:
    """Yield a digest of each answer: of concurrent requests, cache hits, preempted requests,
    drafted tokens, and requests that run next to aborted ones.
    """
    rng = np.random.default_rng(11)
    for size in (1, 7, 12):
        requests = [random_request(rng, vocab_size, vision) for _ in range(size)]
        for _ in range(size // 3):
            request_id = large.submit(random_request(rng, vocab_size, vision), lambda event: None)
            large.abort(request_id)
        yield from map(digest, collect(large, requests))
    yield from map(digest, collect(large, requests[:4]))  # cached prefixes
    repeated = {"max_tokens": 40, "temperature": 0, "seed": 0, "logprobs": 2}
    drafted = [RequestSpec([1, 2, 3, 4] * 6, repeated).request]
    yield from map(digest, collect(large, drafted))
    long: dict[str, Any] = {"max_tokens": 100, "temperature": 1.2, "logprobs": 1}
    preempted = [
        RequestSpec(rng.integers(3, vocab_size - 2, length).tolist(), {**long, "seed": length})
        for length in (90, 130, 50, 70)
    ]
    yield from map(digest, collect(tight, [spec.request for spec in preempted]))
    yield f"preempted {tight.scheduler.num_preemptions > 0}"


def digest(output: RequestOutput) -> str:
    """Return a hash of the tokens, the bits of the log-probabilities, and the finish reasons."""
    events = list(itertools.chain.from_iterable(output.choices))
    prompt = output.prompt.prompt_logprobs if output.prompt else None
    text = f"{[(e.token, e.logprobs, e.finish_reason) for e in events]} {prompt} {output.error!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
