"""The whole sampler: all parameters at once, with different values in each row.

Each step of the backend is compared with the reference's step on the same input, the output of the
backend's previous step. So errors do not accumulate, and a decision is borderline only within the
tolerance of a single step.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.strategies import (
    LOGITS,
    POSITIONS,
    SAMPLING_PARAMS,
    SEEDS,
    V,
    allowed,
    float32,
    per_row,
    with_history,
    with_mass,
)
from conformance.parity.harness.tolerance import ULPS, assert_close, assert_equal
from conformance.parity.logits import check_min_p, check_top_p, kept_tokens
from jax_backend import logits as steps
from jax_backend import sampler
from reference import sampler as spec
from reference import threefry
from reference.logits import Logits
from reference.params import CompletionParams

Example = dict[str, Any]


def choose_in_nucleus(example: Example, coverage: Coverage) -> None:
    """Sampling in the nucleus gives the best token that top_p keeps.

    No tolerance: both sum the same weights in the same order.
    """
    x, mass = example["truncation"]["x"], float32(example["truncation"]["mass"])
    noise = example["noise"]
    actual = compiled(sampler.gumbel_argmax_in_nucleus)(x, noise, mass)
    kept = compiled(steps.top_p)(x, mass)
    assert_equal(actual, compiled(sampler.gumbel_argmax)(kept, noise))


def sample(example: Example, coverage: Coverage) -> None:
    """Every step, the noise and the sampled token are the reference's, in every row."""
    params = [CompletionParams(**fields) for fields in example["params"]]
    x, present, counts = (example["history"][name] for name in ("x", "present", "counts"))
    positions, choices = np.array(example["position"], np.int32), example["choice"]
    row_inputs = list(zip(params, example["seed"], choices, strict=True))
    per_row_params = [sampler.Params.of(*inputs) for inputs in row_inputs]
    rows = jax.tree.map(lambda *parts: np.stack(parts), *per_row_params)
    allowed = example["allowed"]
    history = sampler.SamplingHistory(allowed, present, counts)
    traced, noise, tokens, tokens_with_flag = jax.device_get(
        compiled_sampler(sampler.trace, sampler.noise, sampler.sample)(x, rows, history, positions)
    )
    assert_equal(tokens, tokens_with_flag)
    for i, (row_params, seed, choice) in enumerate(row_inputs):
        row = spec.SamplingHistory(
            params=row_params, allowed=allowed[i], present=present[i], counts=counts[i].astype(int)
        )
        last = check_steps(x[i], row, [logits[i] for logits in traced], coverage)
        expected = threefry.noise(seed, choice, int(positions[i]), V)
        if row_params.temperature >= steps.MIN_TEMPERATURE:
            assert_close(noise[i], expected, size=1, name="noise")
        best = spec.sample(x[i], row, expected)
        check_choice(last, expected, int(tokens[i]), best, coverage)


@cache
def compiled_sampler(*parts: Callable[..., Any]) -> Callable[..., Any]:
    """Compile steps, noise and tokens as one function."""
    trace, noise, sample = parts

    def run(
        x: Any, params: sampler.Params, history: sampler.SamplingHistory, positions: Any
    ) -> Any:
        traced = [logits for _, logits in trace(x, params, history)]
        tokens = [sample(x, params, history, positions, flag) for flag in (None, True)]
        return traced, noise(params, positions, V), *tokens

    result: Callable[..., Any] = jax.jit(run)
    return result


def check_steps(
    x: Logits, history: spec.SamplingHistory, traced: list[Logits], coverage: Coverage
) -> Logits:
    """Return the logits after the last step. Raises AssertionError at a step whose output differs
    from the reference's.
    """
    p = history.params
    names = [name for name, *_ in sampler.STEPS]
    assert names == [name for name, _ in spec.STEPS], f"the steps are {names}"
    for (name, step), actual in zip(spec.STEPS, traced, strict=True):
        match name:
            case "min_p":
                check_min_p(x, p.min_p, actual, coverage)
            case "top_p":
                check_top_p(x, p.top_p, actual, coverage)
            case "top_k" | "response_format":
                assert_equal(actual, step(x, history), name)
            case _:
                # The difference of logit and penalty may be smaller than both.
                size = np.abs(x) if name in ("frequency_penalty", "presence_penalty") else 0
                assert_close(actual, step(x, history), size, name)
        x = actual
    return x


def check_choice(x: Logits, noise: Logits, token: int, best: int, coverage: Coverage) -> None:
    """Assert that a token is kept and its score is the best within the tolerance. best: the token
    of the reference.
    """
    scores = (x + noise).astype(np.float64)
    assert kept_tokens(x, x)[token], f"token {token} is not kept"
    slack = ULPS * max(1, np.abs(noise[np.isfinite(x)]).max(), abs(scores.max()))
    assert scores[token] >= scores.max() - slack, f"token {token} instead of {scores.argmax()}"
    ties = int((scores >= scores.max() - slack).sum() > 1)
    coverage.add_decisions(int(ties or token != best), int(token != best))


PROPERTIES = (
    Property(
        "sampler/nucleus",
        st.fixed_dictionaries({"truncation": with_mass(), "noise": LOGITS}),
        choose_in_nucleus,
    ),
    Property(
        "sampler/sample",
        st.fixed_dictionaries(
            {
                "history": with_history(),
                "allowed": allowed(),
                "params": per_row(SAMPLING_PARAMS),
                "seed": per_row(SEEDS),
                "choice": per_row(st.integers(0, 3)),
                "position": per_row(POSITIONS),
            }
        ),
        sample,
    ),
)
