"""Every parity property holds for the JAX backend, on fewer examples than `python -m conformance
parity` uses. And unit tests of its numeric code.
"""

from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conformance.parity.harness.backends import Backend
from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import EngineProperty, Property
from conformance.parity.harness.strategies import FLAGS, LOGITS, SAMPLING_PARAMS, V, per_row
from conformance.parity.properties import ENGINE_PROPERTIES, FUNCTION_PROPERTIES
from jax_backend import logits, logprobs, sampler
from jax_backend.numerics import branches
from jax_backend.numerics.reductions import fixed_order_sum
from jax_backend.numerics.top_k import top_k_values
from jax_backend.serving import decode
from reference.params import CompletionParams
from tests.jax_backend.properties import assert_rarely_flipped, check_property

minus_infinity = st.just(np.float32(-np.inf))

ID_PROPERTIES = [p for p in ENGINE_PROPERTIES if not p.needs_tokenizer]
TEXT_PROPERTIES = [p for p in ENGINE_PROPERTIES if p.needs_tokenizer]
# Compiled for long; the goldens have models of the same kinds.
LANE = {"llama/int8_weights", "llama/int8", "llama/fp8"}


@pytest.mark.parametrize(
    "tested",
    [
        pytest.param(p, id=p.name, marks=[pytest.mark.lane] if p.name in LANE else [])
        for p in FUNCTION_PROPERTIES
    ],
)
def test_function_property(tested: Property) -> None:
    check_property(tested)


@pytest.mark.parametrize("tested", ID_PROPERTIES, ids=lambda p: p.name)
def test_engine_property(tested: EngineProperty, ids_backend: Backend) -> None:
    assert_rarely_flipped(check_property(tested.bind(ids_backend)))


@pytest.mark.lane
@pytest.mark.parametrize("tested", ID_PROPERTIES, ids=lambda p: p.name)
def test_vlm_engine_property(tested: EngineProperty, vlm_backend: Backend) -> None:
    assert_rarely_flipped(check_property(tested.bind(vlm_backend), 0.5))


@pytest.mark.parametrize("tested", TEXT_PROPERTIES, ids=lambda p: p.name)
def test_output_text_property(tested: EngineProperty, text_backend: Backend) -> None:
    assert_rarely_flipped(check_property(tested.bind(text_backend)))


def test_property_names_are_unique_and_clauses_are_sentences() -> None:
    properties = [*FUNCTION_PROPERTIES, *ENGINE_PROPERTIES]
    assert len({p.name for p in properties}) == len(properties)
    for p in properties:
        assert p.clause.endswith("."), p.name


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nucleus_sampling_ends_on_non_finite_logits(value: float) -> None:
    x = np.zeros((2, V), np.float32)
    x[1, 3] = value
    x = np.asarray(jax.jit(logits.temperature)(x, np.ones(2, np.float32)))
    mass = np.array([0.5, 0.5], np.float32)
    tokens = jax.jit(sampler.gumbel_argmax_in_nucleus)(x, np.zeros_like(x), mass)
    assert tokens[0] == 0


@given(
    x=hnp.arrays(np.float32, (3, V), elements=st.integers(-9, 0).map(np.float32)),
    k=st.lists(st.integers(0, V + 1), min_size=3, max_size=3),
    max_direct=st.sampled_from([1, 5, V - 1]),
)
def test_top_k_selection_equals_bisection(x: np.ndarray, k: list[int], max_direct: int) -> None:
    top_k = compiled(logits.top_k, 2)
    selected = top_k(x, np.array(k, np.int32), max_direct)
    np.testing.assert_array_equal(selected, top_k(x, np.array(k, np.int32), V))


@given(
    x=hnp.arrays(np.float32, (2, 30), elements=st.integers(-3, 3).map(np.float32) | minus_infinity),
    count=st.sampled_from([1, 3, 7, 30]),
    group_size=st.sampled_from([1, 4, 8]),
)
def test_top_k_values_equal_a_stable_sort(x: np.ndarray, count: int, group_size: int) -> None:
    values, indices = compiled(top_k_values, 1, 2)(x, count, group_size)
    expected = np.argsort(-x, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(x, expected, axis=1))


@given(fields=per_row(SAMPLING_PARAMS), x=LOGITS, present=FLAGS, seed=st.integers(0, 2**64 - 1))
def test_static_flags_change_no_token(
    fields: list[dict[str, Any]], x: np.ndarray, present: np.ndarray, seed: int
) -> None:
    params = [CompletionParams(**row) for row in fields]
    rows = jax.tree.map(
        lambda *parts: np.stack(parts), *(sampler.Params.of(p, seed, 0) for p in params)
    )
    history = sampler.SamplingHistory(np.ones_like(present), present, present.astype(np.int32))
    with mock.patch.object(branches, "on_gpu", lambda: True):
        flags = branches.static_flags(params)
    sample = compiled(sampler.sample, 4)
    tokens = [
        sample(x, rows, history, np.zeros(len(x), np.int32), threshold_search)
        for threshold_search in (None, flags.threshold_search)
    ]
    np.testing.assert_array_equal(*tokens)


@pytest.mark.parametrize("size", [1, 5, 64, 65, 192, 768, 5000])
def test_fixed_order_sum_does_not_depend_on_batch_size(size: int) -> None:
    x = np.random.default_rng(0).normal(size=(16, size)).astype(np.float32)
    sums = [np.asarray(jax.jit(fixed_order_sum)(x[:count])) for count in (1, 2, 3, 8, 16)]
    for actual in sums:
        np.testing.assert_array_equal(actual, sums[-1][: len(actual)])
    exact = x.astype(np.float64).sum(axis=1)
    np.testing.assert_allclose(sums[-1], exact, rtol=0, atol=size * 2**-22)


def test_logprobs_ties_are_ranked_by_id() -> None:
    x = jnp.zeros((1, V), jnp.float32)
    _, _, ids = logprobs.token_logprobs(x, jnp.array([0], jnp.int32), 5)
    assert ids[0].tolist() == [0, 1, 2, 3, 4]


def test_padding_activates_no_step() -> None:
    params = CompletionParams(
        top_k=3, top_p=0.5, min_p=0.1, repetition_penalty=2, presence_penalty=1
    )
    row = sampler.Params.of(params, 1, 0)
    rows = jax.tree.map(lambda x: jnp.stack([x, x]), row)
    padded = decode.neutral_params(rows, jnp.array([False, True]))
    for name, _, is_active in sampler.STEPS:
        if name not in ("response_format", "temperature"):
            expected = [name != "frequency_penalty", False]
            assert is_active(padded).tolist() == expected, name
