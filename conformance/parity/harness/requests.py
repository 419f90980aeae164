"""Random requests for hypothesis; sending them to an engine and collecting the events."""

import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.strategies import (
    FRACTIONS,
    PENALTIES,
    REPETITION_PENALTIES,
    SEEDS,
)
from reference.grammar.response_format import compile_format
from reference.model.vision_config import VisionConfig
from reference.params import CompletionParams
from reference.request import (
    Event,
    Image,
    ImageSpan,
    PromptProcessed,
    Request,
    RequestFinished,
    TokenGenerated,
)

# Formats that a model without a tokenizer supports as well.
FORMATS: tuple[dict[str, Any], ...] = (
    {"type": "text"},
    {"type": "json_object"},
    {"type": "regex", "regex": "[ab0-9]+|é{2,5}"},
    {
        "type": "json_schema",
        "json_schema": {
            "schema": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer", "minimum": -20, "maximum": 350},
                    "b": {"type": "array", "items": {"enum": [None, True, "é"]}, "maxItems": 3},
                    "c": {"type": ["string", "null"], "pattern": "^[0-9a-f]*$"},
                },
                "required": ["a"],
            }
        },
    },
)
EVENT_TIMEOUT = 300.0  # seconds


class Engine(Protocol):
    """The part of the engine interface that is needed here."""

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int: ...


@dataclass(frozen=True)
class RequestOutput:
    """All events of one request, by kind."""

    prompt: PromptProcessed | None
    choices: tuple[tuple[TokenGenerated, ...], ...]
    error: Exception | None

    @property
    def tokens(self) -> list[list[int]]:
        return [[t.token for t in choice] for choice in self.choices]

    @property
    def content(self) -> tuple[Any, ...]:
        """The part that must depend on the request only: everything except the cache hit."""
        prompt_logprobs = self.prompt.prompt_logprobs if self.prompt else None
        return self.choices, prompt_logprobs, self.error


def collect(engine: Engine, requests: Sequence[Request]) -> list[RequestOutput]:
    """Submit requests together and return their outputs. Raises AssertionError for events that are
    out of order, and queue.Empty if an engine is stuck.
    """
    queues: list[queue.SimpleQueue[Event]] = [queue.SimpleQueue() for _ in requests]
    for request, events in zip(requests, queues, strict=True):
        engine.submit(request, events.put)
    return [_output(r, events) for r, events in zip(requests, queues, strict=True)]


def _output(request: Request, events: "queue.SimpleQueue[Event]") -> RequestOutput:
    prompt: PromptProcessed | None = None
    choices: list[list[TokenGenerated]] = [[] for _ in range(request.params.n)]
    while True:
        match events.get(timeout=EVENT_TIMEOUT):
            case PromptProcessed() as event:
                assert prompt is None and not any(choices)
                prompt = event
            case TokenGenerated() as event:
                tokens = choices[event.choice]
                assert prompt is not None
                assert not tokens or tokens[-1].finish_reason is None
                tokens.append(event)
            case RequestFinished(error=error):
                return RequestOutput(prompt, tuple(map(tuple, choices)), error)


@dataclass(frozen=True)
class RequestSpec:
    """The parts of a request, which hypothesis shrinks and prints if a check fails.

    images: (index of the token before which the image is, number of the image).
    """

    prompt: list[int]
    params: dict[str, Any]
    principal: str = "me"
    vision: VisionConfig | None = None
    images: list[tuple[int, int]] = field(default_factory=list)

    @property
    def request(self) -> Request:
        """The request, with image tokens inserted."""
        prompt: list[int] = []
        images: list[ImageSpan] = []
        for i in range(len(self.prompt) + 1):
            for number in (n for index, n in self.images if index % (len(self.prompt) + 1) == i):
                assert self.vision is not None
                start, stop = len(prompt), len(prompt) + self.vision.tokens_per_image
                images.append(ImageSpan(noise_image(number, self.vision.image_size), start, stop))
                prompt += [self.vision.image_token_id] * self.vision.tokens_per_image
            prompt += self.prompt[i : i + 1]
        return Request(
            prompt=tuple(prompt),
            params=CompletionParams(**self.params),
            seed=self.params["seed"],
            principal=self.principal,
            language=compile_format(self.params.get("response_format")),
            images=tuple(images),
        )


@cache
def noise_image(number: int, side: int) -> Image:
    """Return a preprocessed image: noise with mean 0, seeded by its number."""
    pixels = np.random.default_rng(number).normal(size=(3, side, side))
    return Image.of(pixels.astype(np.float32))


def request_specs(
    vocab_size: int,
    max_prompt: int = 160,
    max_output: int = 12,
    vision: VisionConfig | None = None,
) -> st.SearchStrategy[RequestSpec]:
    """Generate any valid request: each parameter is omitted or has any allowed value. Prompts often
    share a prefix and images. max_prompt, max_output: in tokens. vision: the config of a VLM.
    """
    params = st.fixed_dictionaries(
        {"max_tokens": st.integers(1, max_output), "seed": SEEDS},
        optional={
            "temperature": st.one_of(st.sampled_from([0.0, 1e-45, 1.0, 2.0]), st.floats(0, 2)),
            "top_p": FRACTIONS,
            "min_p": FRACTIONS,
            "top_k": st.one_of(
                st.sampled_from([0, 1, vocab_size - 1, vocab_size, 2**40]),
                st.integers(0, vocab_size + 1),
            ),
            "n": st.integers(1, 4),
            "logprobs": st.integers(0, 20),
            "echo": st.booleans(),
            "stop_token_ids": st.lists(st.integers(0, vocab_size - 1), max_size=2).map(tuple),
            "presence_penalty": PENALTIES,
            "frequency_penalty": PENALTIES,
            "repetition_penalty": REPETITION_PENALTIES,
            "prompt_cache_key": st.sampled_from([None, "a", "b"]),
            "response_format": st.sampled_from(FORMATS),
        },
    )
    prefix_lengths = st.sampled_from([0, max_prompt // 4, max_prompt // 2])
    prefixes = prefix_lengths.map(lambda count: [i % vocab_size for i in range(count)])
    ids = st.integers(0, vocab_size - 1)
    suffixes = st.one_of(
        st.lists(ids, min_size=1, max_size=9),
        st.builds(scattered_ids, st.just(vocab_size), st.integers(10, max_prompt // 2), ids),
    )
    prompts = st.builds(list.__add__, prefixes, suffixes)
    index = st.one_of(st.sampled_from([0, max_prompt // 4, -1]), ids)
    image = st.tuples(index, st.integers(0, 3))
    images = st.lists(image, max_size=4) if vision else st.just([])
    principals = st.sampled_from(["me", "you"])
    return st.builds(RequestSpec, prompts, params, principals, st.just(vision), images)


def scattered_ids(vocab_size: int, count: int, start: int) -> list[int]:
    """Return `count` irregular ids, derived from one: long lists are expensive for hypothesis."""
    return [(start + i * i * 31 + i * 7) % vocab_size for i in range(count)]
