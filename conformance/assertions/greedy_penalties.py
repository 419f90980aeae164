"""Greedy tokens under a penalty, derived from the server's own log-probabilities.

Temperature 0 removes all randomness, and log-probabilities are logits minus a constant. So the
reported values determine which of the reported tokens is the argmax after a penalty of logits.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from conformance.assertions.next_token import (
    MAX_LOGPROBS,
    TIE_GAP,
    NextTokenDistribution,
    next_token_distribution,
)
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import unique_token_names
from conformance.harness.once import once_per_run
from conformance.http.client import Server
from conformance.http.exchange import Exchange
from conformance.http.response import Choice
from conformance.verdicts import Failed, Inconclusive, NonStrict

MAX_TOKENS = 24
CONTINUATION_TOKENS = 4  # between a prompt and its repetition
IGNORED = "as if it had been left out"
MAX_LEAD = 2.0  # of a logit: the largest penalty
Amount = Callable[[float, int], float]


@dataclass(frozen=True)
class GreedyStep:
    """One token of a greedy completion.

    values: the reported log-probabilities, including its own. before: the number of times each
    token was chosen before it.
    """

    name: str
    values: Mapping[str, float]
    before: Mapping[str, int]
    at: Exchange

    @property
    def value(self) -> float:
        return self.values[self.name]

    @property
    def is_argmax(self) -> bool:
        """The token is the most likely one without a penalty, or ties with it."""
        return self.value >= max(self.values.values()) - TIE_GAP


def greedy_choice(server: Server, prompt: str, length: int = MAX_TOKENS, **fields: Any) -> Choice:
    """Return a greedy completion with as many log-probabilities as a server reports."""
    body = {"prompt": prompt, "max_tokens": length, "temperature": 0, "logprobs": MAX_LOGPROBS}
    return server.complete(**body | fields).choice


def greedy_steps(choice: Choice) -> Iterator[GreedyStep]:
    """Yield the tokens of a completion in order."""
    columns, before = choice.logprobs, Counter[str]()
    for name, value, top in zip(columns.tokens, columns.values, columns.top, strict=True):
        if value is None:
            raise Failed("a log-probability of each token", columns.values, at=choice.at)
        yield GreedyStep(name, {**(top or {}), name: value}, Counter(before), choice.at)
        before[name] += 1


def assert_subtracts(server: Server, name: str, amount: Amount, values: Iterable[float]) -> None:
    """Require that each greedy token is the argmax after a penalty of the output.

    amount: the number to subtract from a logit, given the penalty and the token's count. values:
    penalties of both signs. Raises Inconclusive if those of one sign never change the argmax.
    """
    effective_signs = set()
    for value, prompt in itertools.product(values, PROMPTS[:5]):
        choice = greedy_choice(server, prompt, **unique_token_names(server) | {name: value})
        steps = list(greedy_steps(choice))
        for step in steps:
            assert_step(server, name, value, amount, step, steps, prompt)
        if not all(step.is_argmax for step in steps):
            effective_signs.add(value > 0)
    if len(effective_signs) < 2:
        raise Inconclusive(f"{name} makes no difference after the prompts tried")


def assert_step(
    server: Server,
    name: str,
    value: float,
    amount: Amount,
    step: GreedyStep,
    steps: list[GreedyStep],
    prompt: str,
) -> None:
    """Raise Failed if a reported token has a higher penalized logit than the chosen one."""
    penalized = {n: v - amount(value, step.before.get(n, 0)) for n, v in step.values.items()}
    best = max(penalized, key=lambda n: penalized[n])
    if penalized[step.name] >= penalized[best] - TIE_GAP:
        return
    ignored = all(s.is_argmax for s in steps)
    if ignored:
        # Each token is the argmax of the reported values. If the text is not the one without the
        # penalty, the penalty works and the values already include it.
        plain = greedy_steps(greedy_choice(server, prompt, **unique_token_names(server)))
        if [s.name for s in plain] != [s.name for s in steps]:
            raise Inconclusive("the log-probabilities include the penalty", at=step.at)
    expected = f"with {name} {value} {best!r} as token {steps.index(step) + 1}"
    raise Failed(expected, repr(step.name), note=IGNORED if ignored else "", at=step.at)


@once_per_run
def repeated_prompts(server: Server) -> list[tuple[NextTokenDistribution, set[str]]]:
    """Return distributions after prompts that repeat their beginning, with tokens of the prompt.

    Each prompt continues its first occurrence as the server does, so the model tends to repeat
    that. Tokens are named by their texts.
    """
    return [repeat_prompt(server, prompt) for prompt in PROMPTS]


def repeat_prompt(server: Server, prompt: str) -> tuple[NextTokenDistribution, set[str]]:
    """Return the distribution after prompt, continuation, prompt; and the continuation's tokens."""
    choice = greedy_choice(server, prompt, CONTINUATION_TOKENS, logprobs=1)
    longer = f"{prompt}{choice.text}\n{prompt}"
    distribution = next_token_distribution(server, longer, return_tokens_as_token_ids=...)
    return distribution, set(choice.logprobs.tokens)


def maybe_in_prompt(name: str, prompt: str) -> bool:
    """Return whether a token may occur in a prompt, whatever mark its word boundary has."""
    return name.strip(" ▁Ġ") in prompt or not name.isprintable() or "\ufffd" in name


def logit_lead(distribution: NextTokenDistribution, prompt_names: set[str]) -> float | None:
    """Return the lead of the best token that is certainly in the prompt over the best that is not.

    None if one of the two kinds is not reported.
    """
    present = [v for n, v in distribution.values.items() if n in prompt_names]
    absent = [
        v for n, v in distribution.values.items() if not maybe_in_prompt(n, distribution.prompt)
    ]
    return max(present) - max(absent) if present and absent else None


def assert_prompt_not_counted(server: Server, name: str) -> None:
    """Require that a penalty of the output does not change the first token.

    Only prompts are used after which the same penalty of the prompt's tokens would change it.
    """
    tried = 0
    for distribution, prompt_names in repeated_prompts(server):
        lead = logit_lead(distribution, prompt_names)
        reversible = lead is not None and TIE_GAP < abs(lead) < MAX_LEAD - TIE_GAP
        if lead is None or not reversible or not is_decided(distribution, prompt_names):
            continue
        tried += 1
        value = 2 if lead > 0 else -2
        [step] = greedy_steps(greedy_choice(server, distribution.prompt, 1, **{name: value}))
        if not step.is_argmax:
            raise NonStrict(
                f"with {name} {value} {distribution.best!r}, as the output is empty",
                repr(step.name),
                note=f"{name} over the prompt too",
                at=step.at,
            )
    if not tried:
        raise Inconclusive("after the prompts tried a penalty of the prompt would change nothing")
    assert_has_effect(server, name, 2, 0)


def assert_has_effect(server: Server, name: str, value: float, off: float) -> None:
    """Raise Failed if a penalty changes none of the greedy texts."""
    for prompt in PROMPTS[:5]:
        fields = {"prompt": prompt, "max_tokens": MAX_TOKENS}
        plain, penalized = (server.complete(**fields | {name: v}).text for v in (off, value))
        if plain != penalized:
            return
    raise Failed(f"another text with {name} {value}", penalized, note=IGNORED, at=server.last)


def is_decided(distribution: NextTokenDistribution, prompt_names: set[str]) -> bool:
    """Return whether the top token is certainly in the prompt, or certainly not."""
    best = distribution.best
    return best in prompt_names or not maybe_in_prompt(best, distribution.prompt)
