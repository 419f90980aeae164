"""Workloads: clients that send requests at fixed times, and wait for the answers between turns.

Prompts are random token ids, so any model can serve them, and a prompt is in no prefix cache unless
the workload repeats it. They depend only on the seed: every server gets the same ones.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FIRST_TOKEN_ID = 259  # SentencePiece models: 3 special tokens and 256 bytes come first


@dataclass(frozen=True)
class Turn:
    """One request.

    prompt: token ids. tokens: number of output tokens. pause: seconds to wait before it is sent.
    continues: its prompt comes after the prompt and the output of the turn before. group: the
    requests whose latencies are reported together.
    """

    prompt: tuple[int, ...]
    tokens: int
    pause: float = 0.0
    continues: bool = False
    group: str = "all requests"


@dataclass(frozen=True)
class Client:
    """Turns that are sent one after another, the first one `start` seconds after the beginning."""

    turns: tuple[Turn, ...]
    start: float = 0.0


@dataclass(frozen=True)
class Workload:
    """Clients that run at the same time. preparation: turns that are sent before."""

    name: str
    clients: tuple[Client, ...]
    preparation: tuple[Turn, ...] = ()

    @property
    def num_requests(self) -> int:
        return sum(len(client.turns) for client in self.clients)


class Source:
    """Random prompts and times, and the scale of a run.

    vocabulary: ids are below it. scale: factor of all lengths and numbers of requests.
    """

    def __init__(self, *seed: int, vocabulary: int, scale: float = 1.0) -> None:
        if vocabulary <= FIRST_TOKEN_ID:
            raise ValueError(f"vocabulary: must be above {FIRST_TOKEN_ID}, got {vocabulary}")
        self._random = np.random.default_rng(seed)
        self._vocabulary, self._scale = vocabulary, scale

    def number(self, full: int) -> int:
        """Return a length or a number of requests at the scale of this run."""
        return max(1, round(full * self._scale))

    def prompt(self, length: int) -> tuple[int, ...]:
        """Return random token ids, at the scale of this run."""
        ids = self._random.integers(FIRST_TOKEN_ID, self._vocabulary, self.number(length))
        return tuple(ids.tolist())

    def turn(self, prompt: int, tokens: int, **fields: object) -> Turn:
        """Return a turn with a random prompt. prompt, tokens: the full lengths."""
        return Turn(self.prompt(prompt), self.number(tokens), **fields)  # type: ignore[arg-type]

    def arrivals(self, count: int, rate: float) -> list[float]:
        """Return the times of `count` requests of a Poisson process, in seconds."""
        return np.cumsum(self._random.exponential(1 / rate, count)).tolist()


def burst(source: Source, prompt: int, tokens: int) -> tuple[Client, ...]:
    """Return 32 requests at the same time."""
    return tuple(Client((source.turn(prompt, tokens),)) for _ in range(source.number(32)))


def short_burst(source: Source) -> Workload:
    return Workload("32 at once, 32 + 48", burst(source, 32, 48))


def long_burst(source: Source) -> Workload:
    return Workload("32 at once, 256 + 64", burst(source, 256, 64))


def poisson(source: Source) -> Workload:
    """Return 60 requests at random times, whether or not the server is busy."""
    arrivals = source.arrivals(source.number(60), rate=2.0)
    clients = (Client((source.turn(200, 64),), start) for start in arrivals)
    return Workload("Poisson 2/s, 200 + 64", tuple(clients))


def single(source: Source) -> Workload:
    """Return eight requests, one after another."""
    turns = tuple(source.turn(32, 64) for _ in range(source.number(8)))
    return Workload("one stream, 32 + 64", (Client(turns),))


def long_prompts(source: Source) -> Workload:
    """Return three long prompts, one after another, while four streams decode."""
    name = "streams next to them"
    streams = (Client((source.turn(32, 256, group=name),)) for _ in range(source.number(4)))
    turns = (source.turn(1500, 32, group="long prompts") for _ in range(source.number(3)))
    return Workload("3 prompts of 1,500", (*streams, Client(tuple(turns), start=1.0)))


def shared_prefix(source: Source) -> Workload:
    """Return 32 requests at the same time that begin with one system prompt, which the server has
    answered before.
    """
    prefix = source.prompt(512)
    prompts = [prefix + source.prompt(32) for _ in range(source.number(32) + 1)]
    first, *turns = (Turn(prompt, source.number(48)) for prompt in prompts)
    clients = tuple(Client((turn,)) for turn in turns)
    return Workload("32 at once, 512 shared + 32 + 48", clients, preparation=(first,))


def conversations(source: Source) -> Workload:
    """Return eight conversations of two turns, with a second between them."""

    def conversation() -> Client:
        first = source.turn(256, 64, group="turn 1")
        second = source.turn(32, 48, pause=1.0, continues=True, group="turn 2")
        return Client((first, second))

    clients = tuple(conversation() for _ in range(source.number(8)))
    return Workload("8 conversations", clients)


WORKLOADS: dict[str, Callable[[Source], Workload]] = {
    "burst-short": short_burst,
    "burst-long": long_burst,
    "poisson": poisson,
    "single": single,
    "long-prompts": long_prompts,
    "shared-prefix": shared_prefix,
    "conversations": conversations,
}


def build(name: str, seed: int, number: int, vocabulary: int, scale: float = 1.0) -> Workload:
    """Return a workload by its key in WORKLOADS. number: of the round: each has new prompts."""
    words = (seed, number, zlib.crc32(name.encode()))
    return WORKLOADS[name](Source(*words, vocabulary=vocabulary, scale=scale))


def warm_up(seed: int, number: int, vocabulary: int) -> Workload:
    """Return a small burst, for a server that was stopped before."""
    source = Source(seed, number, zlib.crc32(b"warm-up"), vocabulary=vocabulary)
    return Workload("warm-up", tuple(Client((source.turn(32, 8),)) for _ in range(8)))
