"""Requests sent to an engine, and what came back."""

import queue
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from api.engine import Engine
from reference.params import CompletionParams
from reference.request import End, Event, Prompt, Request, Token
from tests.strategies import SEEDS

PATIENCE = 60.0


@dataclass(frozen=True)
class Answer:
    """All events of one request, by kind."""

    prompt: Prompt | None
    choices: tuple[tuple[Token, ...], ...]
    error: Exception | None

    @property
    def tokens(self) -> list[list[int]]:
        return [[t.token for t in choice] for choice in self.choices]

    @property
    def content(self) -> tuple[Any, ...]:
        """What must not depend on anything but the request: all but the cache hit."""
        reports = self.prompt.reports if self.prompt else None
        return self.choices, reports, self.error


def collect(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    """The answers of requests that are submitted together."""
    queues: list[queue.SimpleQueue[Event]] = [queue.SimpleQueue() for _ in requests]
    for request, events in zip(requests, queues, strict=True):
        engine.submit(request, events.put)
    return [answer(r, events) for r, events in zip(requests, queues, strict=True)]


def answer(request: Request, events: "queue.SimpleQueue[Event]") -> Answer:
    """The events of one request, which are checked to come in order."""
    prompt: Prompt | None = None
    choices: list[list[Token]] = [[] for _ in range(request.params.n)]
    while True:
        match events.get(timeout=PATIENCE):
            case Prompt() as event:
                assert prompt is None and not any(choices)
                prompt = event
            case Token() as event:
                tokens = choices[event.choice]
                assert prompt is not None
                assert not tokens or tokens[-1].finish_reason is None
                tokens.append(event)
            case End(error=error):
                return Answer(prompt, tuple(map(tuple, choices)), error)


Asked = tuple[list[int], dict[str, Any], str]


def asked(vocab_size: int, longest: int = 90, budget: int = 12) -> st.SearchStrategy[Asked]:
    """Prompt, parameters and principal: each parameter may be left out, or be anything that is
    allowed. Prompts often begin alike, as prompts do.
    """
    penalties = st.floats(-2, 2, width=32)
    params = st.fixed_dictionaries(
        {"max_tokens": st.integers(1, budget), "seed": SEEDS},
        optional={
            "temperature": st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 2)),
            "top_p": st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
            "min_p": st.floats(0, 1),
            "top_k": st.integers(0, vocab_size + 1),
            "n": st.integers(1, 4),
            "logprobs": st.integers(0, 20),
            "echo": st.booleans(),
            "stop_token_ids": st.lists(st.integers(0, vocab_size - 1), max_size=2).map(tuple),
            "presence_penalty": penalties,
            "frequency_penalty": penalties,
            "repetition_penalty": st.floats(0.01, 5),
            "prompt_cache_key": st.sampled_from([None, "a", "b"]),
        },
    )
    shared = st.sampled_from([0, 40, 70]).map(lambda n: [i % vocab_size for i in range(n)])
    own = st.lists(st.integers(0, vocab_size - 1), min_size=1, max_size=longest)
    prompts = st.builds(list.__add__, shared, own)
    return st.tuples(prompts, params, st.sampled_from(["me", "you"]))


def build(what: Asked) -> Request:
    prompt, params, principal = what
    return Request(
        prompt=tuple(prompt),
        params=CompletionParams(**params),
        seed=params["seed"],
        principal=principal,
    )
