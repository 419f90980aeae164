"""Greedy completions under penalties or a format, held against the reference's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conformance.assertions.next_token import naming
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.oracle import dialects
from conformance.oracle.dialects import Chain
from conformance.oracle.sampling import PROMPTS, explained, left_out, set_in
from conformance.oracle.truth import Step, Truth, as_it_is
from conformance.verdicts import Inconclusive
from reference.generate import generate
from reference.grammar.response_format import compile_format
from reference.logits import Logits
from reference.params import CompletionParams
from reference.request import Request
from reference.sampler import SamplingHistory, trace

CLEARLY = 0.2  # of a logit: by how much a path must be wrong for another way to have gone there


def path(server: Server, prompt: str, length: int, **params: Any) -> None:
    """A greedy completion: each token is the likeliest of those that may come, after the penalties,
    or within the tolerance of it.
    """
    truth = server.truth
    choice, output = output_of(server, prompt=prompt, max_tokens=length, temperature=0, **params)
    steps = truth.steps(prompt, params | {"temperature": 0}, output)
    slack = slack_of(truth, params)
    found = (i for i, step in enumerate(steps) if behind(penalised, [step]) > slack)
    place = next(found, None)
    if place is None:
        return
    wrong = steps[place]
    best = int(np.argmax(penalised(wrong.logits, wrong.history)))
    expected = f"{truth.text(prompt, best)!r} as token {place + 1}"
    seen = f"{truth.text(prompt, wrong.token)!r}, of {choice.text!r}"
    known = {d.name: d.final for d in dialects.dialects_of(params)}
    ignored = left_out({name: dialects.ignoring(name) for name in params})
    fits = {
        name: 0.0
        for name, chain in (known | ignored).items()
        if behind(before_temperature(chain), steps) <= slack
    }
    raise explained(expected, seen, fits, known, choice.at)


def telling_path(
    truth: Truth,
    length: int,
    grid: Iterable[Mapping[str, Any]],
    apart: Iterable[str] = (),
    prompts: Sequence[str] = PROMPTS,
) -> tuple[str, dict[str, Any]]:
    """A prompt and the parameters under which the reference's greedy completion is clearly wrong
    for each of some dialects, and if a parameter is left out. grid: the parameters to choose from.
    Raises Inconclusive if there are none.
    """
    names = set(apart)
    suspects = [d.final for d in dialects.DIALECTS if d.name in names]
    assert len(suspects) == len(names), f"unknown among {names}"
    for params in grid:
        clearly = CLEARLY + slack_of(truth, params)
        chains = [*suspects, *(dialects.ignoring(name) for name in set_in(params))]
        for prompt in prompts:
            steps = own_path(truth, prompt, length, params)
            if all(behind(before_temperature(chain), steps) >= clearly for chain in chains):
                return prompt, dict(params)
    raise Inconclusive(
        f"this model has no prompt that would tell: {sorted(names) or set_in(params)}"
    )


def own_path(truth: Truth, prompt: str, length: int, params: Mapping[str, Any]) -> list[Step]:
    """The steps of the reference's own greedy completion."""
    found: list[Step] = []

    def follow(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        token = int(np.argmax(penalised(logits, history)))
        found.append(Step(logits, as_it_is(history), token))
        return token

    asked = CompletionParams(**{**params, "temperature": 0, "max_tokens": length})
    language = compile_format(asked.response_format)
    request = Request(prompt=truth.ids(prompt), params=asked, seed=0, language=language)
    for _ in generate(truth.model, request, sample=follow):
        pass
    return found


def penalised(x: Logits, h: Any) -> Logits:
    """The logits before temperature."""
    return dict(trace(x, h))["presence_penalty"]


def before_temperature(chain: Chain) -> Chain:
    """What a chain makes of a step at temperature 1 and without truncation, up to a constant."""
    off: dict[str, Any] = {"temperature": 1.0, "min_p": 0.0, "top_k": 0, "top_p": 1.0}
    return lambda x, h: chain(x, replace(h, params=replace(h.params, **off)))


def behind(chain: Chain, steps: Sequence[Step]) -> float:
    """By how much of a logit a chosen token is, at most, less likely than the likeliest."""
    return max(
        (float(x.max() - x[s.token]) for s in steps for x in [chain(s.logits, s.history)]),
        default=0.0,
    )


def slack_of(truth: Truth, params: Mapping[str, Any]) -> float:
    """Two logits may be off, and a repetition penalty stretches them."""
    penalty = params.get("repetition_penalty", 1.0)
    return 2 * truth.tolerance * max(penalty, 1 / penalty)


def output_of(server: Server, **fields: Any) -> tuple[Choice, list[int]]:
    """A completion, and its token ids."""
    choice = server.ask(logprobs=1, **naming(server), **fields).choice
    return choice, server.truth.token_ids(choice)
