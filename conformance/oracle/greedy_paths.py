"""Greedy completions under penalties or a format, compared with the reference step by step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conformance.fixtures.prompts import PROMPTS
from conformance.http.client import Server
from conformance.http.oracle import DecodeStep, Oracle
from conformance.http.response import Choice
from conformance.oracle import dialects
from conformance.oracle.dialects import Chain
from conformance.oracle.judging import best_explanation, label_omissions
from conformance.oracle.prompt_search import non_default
from conformance.oracle.reference_oracle import TOLERANCE, snapshot
from conformance.oracle.reported_rows import output_steps, reports_own_rows, row_fields, shifted
from conformance.verdicts import Inconclusive
from reference.generate import generate
from reference.grammar.response_format import compile_format
from reference.logits import Logits
from reference.params import CompletionParams
from reference.request import Request
from reference.sampler import SamplingHistory, trace
from reference.stopping import resolve_stop_strings

CLEAR_GAP = 0.2  # of a logit: a chain with a larger gap did not choose these tokens


def assert_greedy_path(server: Server, prompt: str, length: int, **params: Any) -> None:
    """Require that each token of a greedy completion is the argmax after the penalties.

    Tokens within the tolerance of the argmax are right, too.
    """
    oracle = server.oracle
    fields = {"prompt": prompt, "max_tokens": length, "temperature": 0}
    choice, _ = completion_with_ids(server, **fields, **params)
    steps = output_steps(server, prompt, params | {"temperature": 0}, choice)
    scale = error_scale(params)
    wrong = (i for i, step in enumerate(steps) if not may_be_argmax(penalized_logits, step, scale))
    position = next(wrong, None)
    if position is None:
        return
    step = steps[position]
    best = int(np.argmax(penalized_logits(step.logits, step.history)))
    expected = f"{oracle.token_text(prompt, best)!r} as token {position + 1}"
    seen = f"{oracle.token_text(prompt, step.token)!r}, of {choice.text!r}"
    known = {d.name: d.final for d in dialects.dialects_for(params)}
    ignored = label_omissions({name: dialects.without_parameter(name) for name in params})
    scores = {
        name: 0.0
        for name, chain in (known | ignored).items()
        if all(may_be_argmax(before_temperature(chain), step, scale) for step in steps)
    }
    raise best_explanation(expected, seen, scores, known, choice.at)


def discriminating_greedy_prompt(
    server: Server,
    length: int,
    grid: Iterable[Mapping[str, Any]],
    dialect_names: Iterable[str] = (),
    prompts: Sequence[str] = PROMPTS,
) -> tuple[str, dict[str, Any]]:
    """Return a prompt and parameters whose greedy completion is wrong for each of some dialects.

    It is also wrong if a parameter is left out, in each case by more than `CLEAR_GAP`. grid: the
    candidate parameters. Raises Inconclusive if there are none.
    """
    suspects, oracle = dialects.dialects_named(dialect_names), server.oracle
    tolerance = TOLERANCE if reports_own_rows(server) else oracle.tolerance
    params: Mapping[str, Any] = {}
    for params in grid:
        min_gap = CLEAR_GAP + 2 * tolerance * error_scale(params)
        chains = [d.final for d in suspects]
        chains += [dialects.without_parameter(name) for name in non_default(params)]
        for prompt in prompts:
            steps = reference_path(oracle, prompt, length, params)
            if all(logit_gap(before_temperature(chain), steps) >= min_gap for chain in chains):
                return prompt, dict(params)
    names = sorted(d.name for d in suspects) or non_default(params)
    raise Inconclusive(f"with this model no tried prompt distinguishes {names}")


def reference_path(
    oracle: Oracle, prompt: str, length: int, params: Mapping[str, Any]
) -> list[DecodeStep]:
    """Return the steps of the reference's own greedy completion."""
    steps: list[DecodeStep] = []

    def choose_argmax(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        token = int(np.argmax(penalized_logits(logits, history)))
        steps.append(DecodeStep(logits, snapshot(history), token))
        return token

    greedy = CompletionParams(**{**params, "temperature": 0, "max_tokens": length})
    language = compile_format(greedy.response_format)
    greedy = resolve_stop_strings(greedy, oracle.model.vocabulary)
    request = Request(prompt=oracle.ids(prompt), params=greedy, seed=0, language=language)
    for _ in generate(oracle.model, request, sample=choose_argmax):
        pass
    return steps


def penalized_logits(x: Logits, h: Any) -> Logits:
    """Return the logits before temperature."""
    return dict(trace(x, h))["presence_penalty"]


def before_temperature(chain: Chain) -> Chain:
    """Return a chain at temperature 1 without truncation: penalized logits up to a constant."""
    off: dict[str, Any] = {"temperature": 1.0, "min_p": 0.0, "top_k": 0, "top_p": 1.0}
    return lambda x, h: chain(x, replace(h, params=replace(h.params, **off)))


def logit_gap(chain: Chain, steps: Sequence[DecodeStep]) -> float:
    """Return the largest gap between the argmax after a chain and the chosen token, in logits."""
    return max(
        (float(x.max() - x[s.token]) for s in steps for x in [chain(s.logits, s.history)]),
        default=0.0,
    )


def may_be_argmax(chain: Chain, step: DecodeStep, scale: float) -> bool:
    """Return whether the chosen token is the argmax after a chain, for some logits within their
    errors. scale: that of the errors.
    """
    error = np.broadcast_to(step.error, step.logits.shape) * scale
    after = (chain(x, step.history) for x in shifted(step))
    return any(bool(x[step.token] + error[step.token] >= (x - error).max()) for x in after)


def error_scale(params: Mapping[str, Any]) -> float:
    """Return the factor by which a repetition penalty enlarges the error of a logit."""
    penalty = params.get("repetition_penalty", 1.0)
    return float(max(penalty, 1 / penalty))


def completion_with_ids(server: Server, **fields: Any) -> tuple[Choice, list[int]]:
    """Return a completion and its token ids."""
    choice = server.complete(**row_fields(server), **fields).choice
    return choice, server.oracle.token_ids(choice, fields["prompt"])
