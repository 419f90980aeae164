"""Recorded and random requests."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

EARLIER = 120.0  # seconds before the first request in which conversations begin


@dataclass(frozen=True)
class Arrival:
    """A request. seconds: of its arrival. session: requests of one session share a prefix: the
    prompt of each is a beginning of one text.
    """

    seconds: float
    prompt_tokens: int
    output_tokens: int
    session: int


def read_arrivals(path: Path) -> list[Arrival]:
    """Read a JSON list of [seconds, prompt tokens, output tokens, session]; without a session each
    request has its own. Raises ValueError.
    """
    entries = json.loads(path.read_text())
    arrivals = []
    for i, entry in enumerate(entries):
        if not isinstance(entry, list) or len(entry) not in (3, 4) or min(entry[:3]) < 0:
            raise ValueError(
                f"{path}: entry {i} must be [seconds, prompt tokens, output tokens, session?], "
                f"got {entry!r}"
            )
        session = entry[3] if len(entry) == 4 else -1 - i
        arrivals.append(Arrival(float(entry[0]), int(entry[1]), int(entry[2]), int(session)))
    return sorted(arrivals, key=lambda arrival: arrival.seconds)


def conversations(
    rate: float, seconds: float, *, kept: float = 1.0, turns: int = 4, seed: int = 0
) -> list[Arrival]:
    """Return random conversations, `rate` requests per second in all, of which a random share
    `kept` is returned.

    A conversation has `turns` requests on average. The first prompt has 100 to 400 tokens; each
    turn adds the output and a new question, after a pause of about ten seconds.
    """
    rng, now, session = random.Random(seed), -EARLIER, 0
    arrivals = []
    while now < seconds:
        now += rng.expovariate(rate / turns)
        moment, prompt = now, rng.randrange(100, 400)
        while True:
            output = 1 + min(200, int(rng.expovariate(1 / 60)))
            if 0 <= moment < seconds and rng.random() < kept:
                arrivals.append(Arrival(moment, prompt, output, session))
            prompt += output + rng.randrange(10, 60)
            moment += rng.expovariate(1 / 10)
            if rng.random() < 1 / turns or prompt > 1200:
                break
        session += 1
    return sorted(arrivals, key=lambda arrival: arrival.seconds)
