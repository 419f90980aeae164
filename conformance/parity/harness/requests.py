"""Requests, as hypothesis makes them; sent to an engine; and what came back."""

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

# Formats that a model without a tokenizer can keep to as well.
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
PATIENCE = 300.0  # seconds without an event after which an engine counts as stuck


class Engine(Protocol):
    """The verb of an engine that is needed here."""

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int: ...


@dataclass(frozen=True)
class Answer:
    """All events of one request, by kind."""

    prompt: PromptProcessed | None
    choices: tuple[tuple[TokenGenerated, ...], ...]
    error: Exception | None

    @property
    def tokens(self) -> list[list[int]]:
        return [[t.token for t in choice] for choice in self.choices]

    @property
    def content(self) -> tuple[Any, ...]:
        """What must not depend on anything but the request: all but the cache hit."""
        reports = self.prompt.prompt_logprobs if self.prompt else None
        return self.choices, reports, self.error


def collect(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    """The answers of requests that are submitted together. Raises AssertionError for events that
    are out of order, and queue.Empty if nothing comes.
    """
    queues: list[queue.SimpleQueue[Event]] = [queue.SimpleQueue() for _ in requests]
    for request, events in zip(requests, queues, strict=True):
        engine.submit(request, events.put)
    return [_answer(r, events) for r, events in zip(requests, queues, strict=True)]


def _answer(request: Request, events: "queue.SimpleQueue[Event]") -> Answer:
    prompt: PromptProcessed | None = None
    choices: list[list[TokenGenerated]] = [[] for _ in range(request.params.n)]
    while True:
        match events.get(timeout=PATIENCE):
            case PromptProcessed() as event:
                assert prompt is None and not any(choices)
                prompt = event
            case TokenGenerated() as event:
                tokens = choices[event.choice]
                assert prompt is not None
                assert not tokens or tokens[-1].finish_reason is None
                tokens.append(event)
            case RequestFinished(error=error):
                return Answer(prompt, tuple(map(tuple, choices)), error)


@dataclass(frozen=True)
class Asked:
    """What a request is made of. hypothesis shows it when a check fails, and makes it smaller."""

    prompt: list[int]
    params: dict[str, Any]
    principal: str = "me"
    vision: VisionConfig | None = None
    shown: list[tuple[int, int]] = field(default_factory=list)

    @property
    def request(self) -> Request:
        """A request with a seed of its own. shown: (before which token, a number) of each image."""
        prompt: list[int] = []
        images: list[ImageSpan] = []
        for i in range(len(self.prompt) + 1):
            for number in (n for place, n in self.shown if place % (len(self.prompt) + 1) == i):
                assert self.vision is not None
                start, stop = len(prompt), len(prompt) + self.vision.rows
                images.append(ImageSpan(image(number, self.vision.image_size), start, stop))
                prompt += [self.vision.image_token_id] * self.vision.rows
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
def image(number: int, side: int) -> Image:
    """One of many images, as they are prepared: noise about 0."""
    pixels = np.random.default_rng(number).normal(size=(3, side, side))
    return Image.of(pixels.astype(np.float32))


def asked(
    vocab_size: int, longest: int = 160, budget: int = 12, vision: VisionConfig | None = None
) -> st.SearchStrategy[Asked]:
    """Any request: each parameter may be left out, or be anything that is allowed. Prompts often
    begin alike, as prompts do, and show the same things. longest, budget: of a prompt and of an
    output, in tokens. vision: of a model that sees.
    """
    params = st.fixed_dictionaries(
        {"max_tokens": st.integers(1, budget), "seed": SEEDS},
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
    alike = st.sampled_from([0, longest // 4, longest // 2])
    shared = alike.map(lambda count: [i % vocab_size for i in range(count)])
    ids = st.integers(0, vocab_size - 1)
    own = st.one_of(
        st.lists(ids, min_size=1, max_size=9),
        st.builds(scattered, st.just(vocab_size), st.integers(10, longest // 2), ids),
    )
    prompts = st.builds(list.__add__, shared, own)
    places = st.tuples(st.one_of(st.sampled_from([0, longest // 4, -1]), ids), st.integers(0, 3))
    shown = st.lists(places, max_size=4) if vision else st.just([])
    principals = st.sampled_from(["me", "you"])
    return st.builds(Asked, prompts, params, principals, st.just(vision), shown)


def scattered(vocab_size: int, count: int, start: int) -> list[int]:
    """So many ids with no order to them, made of one: hypothesis finds long lists expensive."""
    return [(start + i * i * 31 + i * 7) % vocab_size for i in range(count)]
