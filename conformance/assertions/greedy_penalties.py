"""Greedy choices under a penalty, held against a server's own log-probabilities.

At temperature 0 nothing is left to chance, and the log-probabilities of a row are the logits less
a number that is the same for all. So a row says which token a penalty of logits must lead to, as
far as its tokens go.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from conformance.assertions.next_token import GAP, WIDE, Row, naming, row_of
from conformance.http.client import Server
from conformance.http.exchange import Exchange
from conformance.http.response import Choice
from conformance.oracle.sampling import PROMPTS
from conformance.verdicts import Failed, Inconclusive, NonStrict

LENGTH = 24
AGAIN = 4  # tokens after which a prompt is repeated
LEFT_OUT = "as if it had been left out"
WITHIN = 2.0  # of a logit: what a penalty of 2 moves
Amount = Callable[[float, int], float]


@dataclass(frozen=True)
class Chosen:
    """One greedy choice. values: the log-probabilities that are known, its own among them. before:
    how often each token was chosen before it.
    """

    name: str
    values: Mapping[str, float]
    before: Mapping[str, int]
    at: Exchange

    @property
    def value(self) -> float:
        return self.values[self.name]

    @property
    def likeliest(self) -> bool:
        return self.value >= max(self.values.values()) - GAP


def greedy(server: Server, prompt: str, length: int = LENGTH, **fields: Any) -> Choice:
    """A greedy completion with all the log-probabilities that one gets."""
    asked = {"prompt": prompt, "max_tokens": length, "temperature": 0, "logprobs": WIDE}
    return server.ask(**asked | fields).choice


def chosen(choice: Choice) -> Iterator[Chosen]:
    """The choices of a completion, one after the other."""
    rows, before = choice.rows, Counter[str]()
    for name, value, top in zip(rows.tokens, rows.values, rows.top, strict=True):
        if value is None:
            raise Failed("a log-probability of each token", rows.values, at=choice.at)
        yield Chosen(name, {**(top or {}), name: value}, Counter(before), choice.at)
        before[name] += 1


def subtracts(server: Server, name: str, amount: Amount, values: Iterable[float]) -> None:
    """Each token is the likeliest after a penalty of the output.

    amount: what is subtracted, given the penalty and how often the token was chosen. values: of
    either sign. Raises Inconclusive if those of one sign never make another token the likeliest.
    """
    moved = set()
    for value, prompt in itertools.product(values, PROMPTS[:5]):
        choice = greedy(server, prompt, **naming(server) | {name: value})
        steps = list(chosen(choice))
        for step in steps:
            follow(server, name, value, amount, step, steps, prompt)
        if not all(step.likeliest for step in steps):
            moved.add(value > 0)
    if len(moved) < 2:
        raise Inconclusive(f"{name} makes no difference after the prompts tried")


def follow(
    server: Server,
    name: str,
    value: float,
    amount: Amount,
    step: Chosen,
    steps: list[Chosen],
    prompt: str,
) -> None:
    """Raises Failed if a known token would have been likelier than the one that was chosen."""
    after = {n: v - amount(value, step.before.get(n, 0)) for n, v in step.values.items()}
    best = max(after, key=lambda n: after[n])
    if after[step.name] >= after[best] - GAP:
        return
    if all(s.likeliest for s in steps):
        plain = [s.name for s in chosen(greedy(server, prompt, **naming(server)))]
        if plain != [s.name for s in steps]:
            raise Inconclusive("the log-probabilities are those after the penalty", at=step.at)
    expected = f"with {name} {value} {best!r} as token {steps.index(step) + 1}"
    note = LEFT_OUT if all(s.likeliest for s in steps) else ""
    raise Failed(expected, repr(step.name), note=note, at=step.at)


def repeating(server: Server) -> list[tuple[Row, set[str]]]:
    """The rows of prompts that say twice what they begin with, and once how the server goes on: so
    that it may want to go on like that again. With each the tokens that are surely in the prompt.
    Names are texts. Asked for once a run.
    """
    facts = server.target.facts
    if "repeating" not in facts:
        facts["repeating"] = [again(server, prompt) for prompt in PROMPTS]
    found: list[tuple[Row, set[str]]] = facts["repeating"]
    return found


def again(server: Server, prompt: str) -> tuple[Row, set[str]]:
    choice = greedy(server, prompt, AGAIN, logprobs=1)
    longer = f"{prompt}{choice.text}\n{prompt}"
    return row_of(server, longer, return_tokens_as_token_ids=...), set(choice.rows.tokens)


def perhaps_in(name: str, prompt: str) -> bool:
    """Whether a token may be one of a prompt's. Beginnings of words are marked in many ways."""
    return name.strip(" ▁Ġ") in prompt or not name.isprintable() or "\ufffd" in name


def rival(row: Row, inside: set[str]) -> float | None:
    """How much likelier a token that is surely in the prompt is than all that surely are not; below
    0 if it is less likely. None if there are none of the one or the other.
    """
    seen = [v for n, v in row.values.items() if n in inside]
    new = [v for n, v in row.values.items() if not perhaps_in(n, row.prompt)]
    return max(seen) - max(new) if seen and new else None


def prompt_is_not_counted(server: Server, name: str) -> None:
    """The first token is the same with a penalty of the output as without, also where a penalty of
    the prompt would have changed it.
    """
    tried = 0
    for row, inside in repeating(server):
        lead = rival(row, inside)
        if lead is None or not GAP < abs(lead) < WITHIN - GAP or not decided(row, inside):
            continue
        tried += 1
        value = 2 if lead > 0 else -2
        [first] = chosen(greedy(server, row.prompt, 1, **{name: value}))
        if not first.likeliest:
            raise NonStrict(
                f"with {name} {value} {row.best!r}, which nothing was chosen before",
                repr(first.name),
                note=f"{name} over the prompt too",
                at=first.at,
            )
    if not tried:
        raise Inconclusive("after the prompts tried a penalty of the prompt would change nothing")
    acts(server, name, 2, 0)


def acts(server: Server, name: str, value: float, off: float) -> None:
    """Raises Failed if no text is another with a penalty than without."""
    for prompt in PROMPTS[:5]:
        fields = {"prompt": prompt, "max_tokens": LENGTH}
        without, penalised = (server.ask(**fields | {name: v}).text for v in (off, value))
        if without != penalised:
            return
    raise Failed(f"another text with {name} {value}", penalised, note=LEFT_OUT, at=server.last)


def decided(row: Row, inside: set[str]) -> bool:
    """Whether the likeliest token is surely in the prompt, or surely not."""
    return row.best in inside or not perhaps_in(row.best, row.prompt)
