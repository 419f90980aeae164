"""The JAX backend has every property of `conformance.parity`, on fewer examples than
`python -m conformance parity` would try; and what a property cannot say.
"""

from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conformance.parity.harness.backends import Backend
from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.properties import OF_FUNCTIONS, OF_MODELS
from conformance.parity.harness.property import OfModel, Property, Tally
from conformance.parity.harness.runner import Trial
from conformance.parity.harness.strategies import FLAGS, ROWS, SAMPLED, V, per_row
from jax_backend import logits as l
from jax_backend import logprobs, sampler
from jax_backend.numerics import branches
from jax_backend.numerics.reductions import written_out
from jax_backend.numerics.top_k import largest
from jax_backend.serving import step
from reference.params import CompletionParams

minus_infinity = st.just(np.float32(-np.inf))

# Of the profile's examples, for what takes longer than the rest.
SHARES = {
    "attention/tpu": 0.04,
    "layer": 0.3,
    "model": 0.1,
    "engine/crowds": 0.2,
    "vision": 0.2,
    "text": 0.3,
}


def holds(one: Property, of_it: float = 1) -> Tally:
    """One property, under the profile of the suite, or on a part of its examples."""
    share = of_it * SHARES.get(one.name, SHARES.get(one.name.split("/")[0], 1))
    few = settings(
        max_examples=max(1, int(settings().max_examples * share)),
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    tally = Tally()
    few(Trial(one, tally, lambda: None).test)()
    return tally


@pytest.mark.parametrize("one", OF_FUNCTIONS, ids=lambda one: one.name)
def test_a_function_has_the_property(one: Property) -> None:
    holds(one)


@pytest.mark.parametrize(
    "one", [one for one in OF_MODELS if not one.reads_text], ids=lambda one: one.name
)
def test_an_engine_has_the_property(one: OfModel, bare_backend: Backend) -> None:
    tally = holds(one.of(bare_backend))
    assert tally.other <= 1, "so many near decisions are one that is wrong"


@pytest.mark.parametrize(
    "one", [one for one in OF_MODELS if not one.reads_text], ids=lambda one: one.name
)
def test_an_engine_that_sees_has_the_property(one: OfModel, seeing_backend: Backend) -> None:
    tally = holds(one.of(seeing_backend), 0.5)
    assert tally.other <= 1, "so many near decisions are one that is wrong"


@pytest.mark.parametrize(
    "one", [one for one in OF_MODELS if one.reads_text], ids=lambda one: one.name
)
def test_a_text_has_the_property(one: OfModel, writing_backend: Backend) -> None:
    tally = holds(one.of(writing_backend))
    assert tally.other <= 1, "so many near decisions are one that is wrong"


def test_every_property_says_what_holds_under_a_name_of_its_own() -> None:
    everything = [*OF_FUNCTIONS, *OF_MODELS]
    assert len({one.name for one in everything}) == len(everything)
    for one in everything:
        assert one.clause.endswith("."), one.name


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_choice_among_what_is_no_number_ends(wrong: float) -> None:
    x = np.zeros((2, V), np.float32)
    x[1, 3] = wrong
    x = np.asarray(jax.jit(l.temperature)(x, np.ones(2, np.float32)))
    halves = np.array([0.5, 0.5], np.float32)
    found = jax.jit(sampler.choose_in_nucleus)(x, np.zeros_like(x), halves)
    assert found[0] == 0


@given(
    x=hnp.arrays(np.float32, (3, V), elements=st.integers(-9, 0).map(np.float32)),
    k=st.lists(st.integers(0, V + 1), min_size=3, max_size=3),
    few=st.sampled_from([1, 5, V - 1]),
)
def test_a_few_are_picked_as_the_bisection_would(x: np.ndarray, k: list[int], few: int) -> None:
    picked = compiled(l.top_k, 2)(x, np.array(k, np.int32), few)
    np.testing.assert_array_equal(picked, compiled(l.top_k, 2)(x, np.array(k, np.int32), V))


@given(
    x=hnp.arrays(np.float32, (2, 30), elements=st.integers(-3, 3).map(np.float32) | minus_infinity),
    count=st.sampled_from([1, 3, 7, 30]),
    group=st.sampled_from([1, 4, 8]),
)
def test_the_largest_are_those_of_a_sort(x: np.ndarray, count: int, group: int) -> None:
    values, where = compiled(largest, 1, 2)(x, count, group)
    expected = np.argsort(-x, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(where, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(x, expected, axis=1))


@given(asked=per_row(SAMPLED), x=ROWS, seen=FLAGS, seed=st.integers(0, 2**64 - 1))
def test_what_the_host_tells_a_gpu_changes_no_token(
    asked: list[dict[str, Any]], x: np.ndarray, seen: np.ndarray, seed: int
) -> None:
    params = [CompletionParams(**row) for row in asked]
    rows = jax.tree.map(
        lambda *parts: np.stack(parts), *(sampler.Params.of(p, seed, 0) for p in params)
    )
    history = sampler.SamplingHistory(np.ones_like(seen), seen, seen.astype(np.int32))
    with mock.patch.object(branches, "on_gpu", lambda: True):
        told = branches.tell(params)
    sample = compiled(sampler.sample, 4)
    tokens = [
        sample(x, rows, history, np.zeros(len(x), np.int32), searches)
        for searches in (None, told.searches)
    ]
    np.testing.assert_array_equal(*tokens)


@pytest.mark.parametrize("size", [1, 5, 64, 65, 192, 768, 5000])
def test_a_sum_does_not_depend_on_the_rows_beside_it(size: int) -> None:
    x = np.random.default_rng(0).normal(size=(16, size)).astype(np.float32)
    sums = [np.asarray(jax.jit(written_out)(x[:count])) for count in (1, 2, 3, 8, 16)]
    for found in sums:
        np.testing.assert_array_equal(found, sums[-1][: len(found)])
    exact = x.astype(np.float64).sum(axis=1)
    np.testing.assert_allclose(sums[-1], exact, rtol=0, atol=size * 2**-22)


def test_ties_among_the_likeliest_are_ranked_by_id() -> None:
    x = np.zeros((1, V), np.float32)
    _, _, ids = logprobs.token_logprobs(x, np.array([0], np.int32), 5)
    assert ids[0].tolist() == [0, 1, 2, 3, 4]


def test_padding_asks_for_nothing() -> None:
    asked = CompletionParams(
        top_k=3, top_p=0.5, min_p=0.1, repetition_penalty=2, presence_penalty=1
    )
    one = sampler.Params.of(asked, 1, 0)
    params = jax.tree.map(lambda x: jnp.stack([x, x]), one)
    padding = step.asking_nothing(params, jnp.array([False, True]))
    for name, _, asks in sampler.STEPS:
        if name not in ("response_format", "temperature"):
            expected = [name != "frequency_penalty", False]
            assert asks(padding).tolist() == expected, name
