"""The whole sampler: all parameters at once, different ones in each row.

Each step of the backend is held against the reference's step on the same input, the one that the
backend's step before it has made. So no difference adds up, and a decision is near only if it is
within the tolerance of one step.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import Property, Tally
from conformance.parity.harness.strategies import (
    POSITIONS,
    ROWS,
    SAMPLED,
    SEEDS,
    V,
    allowed,
    per_row,
    single,
    with_history,
    with_mass,
)
from conformance.parity.harness.tolerance import ULPS, close, same
from conformance.parity.logits import kept_of, legal_min_p, legal_top_p
from jax_backend import logits as l
from jax_backend import sampler
from reference import sampler as spec
from reference import threefry
from reference.logits import Logits
from reference.params import CompletionParams

Example = dict[str, Any]


def nucleus(example: Example, tally: Tally) -> None:
    """The choice within the nucleus is the best of what top_p keeps.

    No tolerance: both add the same weights in the same order.
    """
    x, noise, mass = example["line"]["x"], example["noise"], single(example["line"]["mass"])
    found = compiled(sampler.choose_in_nucleus)(x, noise, mass)
    kept = compiled(l.top_p)(x, mass)
    same(found, compiled(sampler.choose)(kept, noise))


def whole(example: Example, tally: Tally) -> None:
    """Every step of every row, its noise and its token are the reference's."""
    params = [CompletionParams(**asked) for asked in example["params"]]
    x, seen, counts = (example["history"][name] for name in ("x", "seen", "counts"))
    positions, choices = np.array(example["position"], np.int32), example["choice"]
    drawn = list(zip(params, example["seed"], choices, strict=True))
    rows = jax.tree.map(lambda *parts: np.stack(parts), *(sampler.Params.of(*d) for d in drawn))
    may = example["allowed"]
    history = sampler.SamplingHistory(may, seen, counts)
    steps, noise, tokens, told = jax.device_get(
        together(sampler.trace, sampler.noise, sampler.sample)(x, rows, history, positions)
    )
    same(tokens, told)
    for i, (asked, seed, choice) in enumerate(drawn):
        own = spec.SamplingHistory(
            params=asked, allowed=may[i], seen=seen[i], counts=counts[i].astype(int)
        )
        last = follow(x[i], own, [logits[i] for logits in steps], tally)
        expected = threefry.noise(seed, choice, int(positions[i]), V)
        if asked.temperature >= l.SMALLEST_TEMPERATURE:
            close(noise[i], expected, size=1, what="noise")
        best = spec.sample(x[i], own, expected)
        legal_choice(last, expected, int(tokens[i]), best, tally)


@cache
def together(*parts: Callable[..., Any]) -> Callable[..., Any]:
    """Steps, noise and tokens, compiled as one."""
    trace, noise, sample = parts

    def all_of(
        x: Any, params: sampler.Params, history: sampler.SamplingHistory, positions: Any
    ) -> Any:
        steps = [logits for _, logits in trace(x, params, history)]
        tokens = [sample(x, params, history, positions, searches) for searches in (None, True)]
        return steps, noise(params, positions, V), *tokens

    result: Callable[..., Any] = jax.jit(all_of)
    return result


def follow(x: Logits, history: spec.SamplingHistory, steps: list[Logits], tally: Tally) -> Logits:
    """The logits after the last step. Raises AssertionError for a step that the reference would not
    have taken.
    """
    p = history.params
    names = [name for name, *_ in sampler.STEPS]
    assert names == [name for name, _ in spec.STEPS], f"the steps are {names}"
    for (name, step), found in zip(spec.STEPS, steps, strict=True):
        match name:
            case "min_p":
                legal_min_p(x, p.min_p, found, tally)
            case "top_p":
                legal_top_p(x, p.top_p, found, tally)
            case "top_k" | "response_format":
                same(found, step(x, history), name)
            case _:
                # A penalty is subtracted from the logit, and may leave less than either.
                size = np.abs(x) if name in ("frequency_penalty", "presence_penalty") else 0
                close(found, step(x, history), size, name)
        x = found
    return x


def legal_choice(x: Logits, noise: Logits, token: int, best: int, tally: Tally) -> None:
    """Raises AssertionError unless a token has been kept and its score is the best, within the
    tolerance. best: the reference's choice.
    """
    scores = (x + noise).astype(np.float64)
    assert kept_of(x, x)[token], f"{token} is not among what was kept"
    slack = ULPS * max(1, np.abs(noise[np.isfinite(x)]).max(), abs(scores.max()))
    assert scores[token] >= scores.max() - slack, f"token {token}, and not {scores.argmax()}"
    ties = int((scores >= scores.max() - slack).sum() > 1)
    tally.decided(int(ties or token != best), int(token != best))


PROPERTIES = (
    Property(
        "sampler/nucleus", st.fixed_dictionaries({"line": with_mass(), "noise": ROWS}), nucleus
    ),
    Property(
        "sampler/whole",
        st.fixed_dictionaries(
            {
                "history": with_history(),
                "allowed": allowed(),
                "params": per_row(SAMPLED),
                "seed": per_row(SEEDS),
                "choice": per_row(st.integers(0, 3)),
                "position": per_row(POSITIONS),
            }
        ),
        whole,
    ),
)
