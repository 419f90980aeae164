"""The twins of the reference's rooms, row by row against the reference.

Bits of randomness, masks and what truncation keeps are compared exactly. Numbers are compared to
`TOLERANCE`: an exponential or a logarithm of the two libraries differs by a few units in the last
place (2⁻²³ each), and sums of up to 37 of them by as many more. Where a token lies within it of the
line that truncation draws, either side is right, and the example is left out.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jax_backend import logits as l
from jax_backend import logprobs, sampler, step, threefry
from jax_backend.sums import row_sum
from reference import logits as spec
from reference import logprobs as spec_logprobs
from reference import sampler as spec_sampler
from reference import threefry as spec_threefry
from reference.params import CompletionParams
from tests.strategies import SEEDS, VALUES

B, V = 3, 37
TOLERANCE = 64 * 2**-23
FLUSHED = 2**-126  # what lies below the smallest normal float32 is 0 to an accelerator

rows = hnp.arrays(np.float32, (B, V), elements=VALUES)
FRACTIONS = st.one_of(st.sampled_from([0.0, 1e-6, 0.25, 0.5, 1.0]), st.floats(0, 1))


def per_row(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=B, max_size=B)


@st.composite
def truncatable(draw: st.DrawFn) -> np.ndarray:
    """(B, V) with ties, a maximum of 0 in each row, and some tokens that are gone."""
    x = draw(rows)
    gone = draw(hnp.arrays(np.bool_, (B, V)))
    gone[np.arange(B), draw(st.integers(0, V - 1))] = False
    x = np.where(gone, np.float32(-np.inf), x)
    return x - x.max(axis=1, keepdims=True)


def single(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)


@given(SEEDS, st.integers(0, 3), st.integers(0, 2**20), st.integers(0, 2**20))
def test_the_bits_of_chance_are_equal(seed: int, choice: int, position: int, other: int) -> None:
    keys = jnp.array([threefry.seed_key(seed)] * 2)
    both = jnp.array([choice, 0], jnp.int32), jnp.array([position, other], jnp.int32)
    found = jitted_bits(keys, *both)
    for i in range(2):
        key = spec_threefry.draw_key(seed, int(both[0][i]), int(both[1][i]))
        np.testing.assert_array_equal(found[i], spec_threefry.random_bits(key, V))


jitted_bits = jax.jit(
    lambda seeds, choices, positions: threefry.random_bits(seeds, choices, positions, V)
)


@given(hnp.arrays(np.uint32, V))
def test_noise(bits: np.ndarray) -> None:
    bits[:4] = 0, 1, 2**32 - 1, 2**32 - 128
    found, expected = np.asarray(jax.jit(threefry.gumbel)(bits)), spec_threefry.gumbel(bits)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


@given(rows, per_row(st.sampled_from([0.01, 0.5, 1.0, 1.3, 5.0])), hnp.arrays(np.bool_, (B, V)))
def test_repetition_penalty(x: np.ndarray, penalty: list[float], seen: np.ndarray) -> None:
    found = jax.jit(l.repetition_penalty)(x, seen, single(penalty))
    for i in range(B):
        expected = spec.repetition_penalty(x[i], seen[i], penalty[i])
        np.testing.assert_allclose(found[i], expected, rtol=2**-22, atol=FLUSHED)


@given(rows, per_row(st.floats(-2, 2)), hnp.arrays(np.int32, (B, V), elements=st.integers(0, 9)))
def test_frequency_and_presence_penalty(
    x: np.ndarray, size: list[float], counts: np.ndarray
) -> None:
    for name in "frequency_penalty", "presence_penalty":
        found = jax.jit(getattr(l, name))(x, counts, single(size))
        for i in range(B):
            expected = getattr(spec, name)(x[i], counts[i].astype(np.int64), size[i])
            np.testing.assert_allclose(found[i], expected, rtol=TOLERANCE, atol=TOLERANCE)


@given(rows, per_row(st.one_of(st.just(0.0), st.floats(0.01, 2))))
def test_temperature(x: np.ndarray, value: list[float]) -> None:
    found = jax.jit(l.temperature)(x, single(value))
    for i in range(B):
        expected = spec.temperature(x[i], value[i])
        np.testing.assert_allclose(found[i], expected, rtol=2**-22, atol=FLUSHED)


@given(truncatable(), per_row(FRACTIONS))
def test_min_p(x: np.ndarray, fraction: list[float]) -> None:
    found = jax.jit(l.min_p)(x, single(fraction))
    for i in range(B):
        p = np.exp(x[i].astype(np.float64))
        near = np.abs(p - fraction[i]) <= TOLERANCE * fraction[i]
        assume(not (near & (p < 1) & (p > 0)).any())
        np.testing.assert_array_equal(found[i], spec.min_p(x[i], fraction[i]))


@given(truncatable(), per_row(st.integers(0, V + 3)))
def test_top_k(x: np.ndarray, k: list[int]) -> None:
    found = jax.jit(l.top_k)(x, np.array(k, np.int32))
    for i in range(B):
        np.testing.assert_array_equal(found[i], spec.top_k(x[i], k[i]))


@given(truncatable(), per_row(FRACTIONS))
def test_top_p(x: np.ndarray, mass: list[float]) -> None:
    found = jax.jit(l.top_p)(x, single(mass))
    for i in range(B):
        assume(not near_the_line(x[i], mass[i]))
        np.testing.assert_array_equal(found[i], spec.top_p(x[i], mass[i]))


@given(truncatable(), per_row(FRACTIONS), hnp.arrays(np.float32, (B, V), elements=VALUES))
def test_the_choice_in_the_nucleus_is_the_one_among_what_top_p_keeps(
    x: np.ndarray, mass: list[float], noise: np.ndarray
) -> None:
    """No tolerance: both add the same weights in the same order."""
    found = jax.jit(sampler.choose_in_nucleus)(x, noise, single(mass))
    kept = jax.jit(l.top_p)(x, single(mass))
    np.testing.assert_array_equal(found, jax.jit(sampler.choose)(kept, noise))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_choice_among_what_is_no_number_ends(wrong: float) -> None:
    x = np.zeros((2, V), np.float32)
    x[1, 3] = wrong
    x = np.asarray(jax.jit(l.temperature)(x, single([1, 1])))
    found = jax.jit(sampler.choose_in_nucleus)(x, np.zeros_like(x), single([0.5, 0.5]))
    assert found[0] == 0


def near_the_line(x: np.ndarray, mass: float) -> bool:
    """Whether a level's cumulative mass lies within the tolerance of `mass`."""
    p = spec.probabilities(x)
    reached = [p[p >= level].sum() for level in set(p.tolist())]
    return mass < 1 and any(abs(r - mass) < TOLERANCE for r in reached)


def test_the_steps_are_those_of_the_specification_in_its_order() -> None:
    assert [name for name, *_ in sampler.STEPS] == [name for name, _ in spec_sampler.STEPS]


PARAMS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 1e-45, 0.3, 1.0, 2.0]),
        "min_p": st.sampled_from([0.0, 0.1, 1.0]),
        "top_k": st.sampled_from([0, 1, 5, V, 2**40]),
        "top_p": st.sampled_from([0.0, 0.5, 0.9, 1.0]),
        "repetition_penalty": st.sampled_from([0.5, 1.0, 1.3]),
        "frequency_penalty": st.sampled_from([-1.0, 0.0, 0.7]),
        "presence_penalty": st.sampled_from([-1.0, 0.0, 0.7]),
    }
)
compiled = jax.jit(
    lambda x, p, h, i: (
        dict(sampler.trace(x, p, h)),
        sampler.noise(p, i, V),
        sampler.sample(x, p, h, i),
    )
)


@given(rows, per_row(PARAMS), per_row(SEEDS), st.data())
def test_the_whole_sampler(
    x: np.ndarray, asked: list[dict[str, Any]], seeds: list[int], data: Any
) -> None:
    """All parameters at once, different ones in each row: a chosen token is right if its score is
    within the tolerance of the reference's best.
    """
    params = [CompletionParams(**values) for values in asked]
    allowed = data.draw(hnp.arrays(np.bool_, (B, V)))
    allowed[:, data.draw(st.integers(0, V - 1))] = True
    seen = data.draw(hnp.arrays(np.bool_, (B, V)))
    counts = data.draw(hnp.arrays(np.int32, (B, V), elements=st.integers(0, 3)))
    positions = np.array(data.draw(per_row(st.integers(0, 99))), np.int32)
    stacked = [
        sampler.Params.of(p, s, i) for i, (p, s) in enumerate(zip(params, seeds, strict=True))
    ]
    together = jax.tree.map(lambda *parts: np.stack(parts), *stacked)
    steps, noise, tokens = compiled(x, together, sampler.History(allowed, seen, counts), positions)
    for i, p in enumerate(params):
        history = spec_sampler.History(
            params=p, allowed=allowed[i], seen=seen[i], counts=counts[i].astype(np.int64)
        )
        before = None
        for name, expected in spec_sampler.trace(x[i], history):
            if name in ("min_p", "top_k", "top_p"):
                assume(not borderline(name, before, p))
            found = np.asarray(steps[name][i])
            np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected), name)
            np.testing.assert_allclose(found, expected, TOLERANCE, 100 * TOLERANCE, err_msg=name)
            before = expected
        drawn = spec_threefry.noise(seeds[i], i, int(positions[i]), V)
        if p.temperature >= l.SMALLEST_TEMPERATURE:
            np.testing.assert_allclose(noise[i], drawn, TOLERANCE, TOLERANCE)
        score = before + drawn
        assert score[int(tokens[i])] >= score.max() - 100 * TOLERANCE


def borderline(name: str, x: np.ndarray, p: CompletionParams) -> bool:
    """Whether what a step keeps hangs on the last bits of its input."""
    finite = x[np.isfinite(x)]
    if name == "top_p":
        return near_the_line(x, p.top_p) or close(finite)
    if name == "min_p":
        return p.min_p > 0 and bool(np.any(np.abs(finite - math.log(p.min_p)) < 100 * TOLERANCE))
    return p.top_k > 0 and close(finite)


def close(x: np.ndarray) -> bool:
    """Whether two logits differ by so little that the other side may see a tie, or none."""
    gaps = np.diff(np.sort(x))
    return bool(((gaps > 0) & (gaps < 100 * TOLERANCE)).any())


@pytest.mark.parametrize("size", [1, 5, 64, 65, 192, 768, 5000])
def test_a_sum_does_not_depend_on_the_rows_beside_it(size: int) -> None:
    x = np.random.default_rng(0).normal(size=(16, size)).astype(np.float32)
    sums = [np.asarray(jax.jit(row_sum)(x[:count])) for count in (1, 2, 3, 8, 16)]
    for found in sums:
        np.testing.assert_array_equal(found, sums[-1][: len(found)])
    exact = x.astype(np.float64).sum(axis=1)
    np.testing.assert_allclose(sums[-1], exact, rtol=0, atol=size * 2**-22)


@given(rows, per_row(st.integers(0, V - 1)), st.integers(0, 5))
def test_log_probabilities(x: np.ndarray, tokens: list[int], top: int) -> None:
    chosen, highest, ids = jax.jit(logprobs.report, static_argnums=2)(
        x, np.array(tokens, np.int32), 5
    )
    for i, token in enumerate(tokens):
        expected = spec_logprobs.report(x[i], token, top)
        assert chosen[i] == pytest.approx(expected.logprob, rel=TOLERANCE, abs=TOLERANCE)
        found = np.asarray(highest[i][:top])
        np.testing.assert_allclose(
            found, [v for _, v in expected.top[:top]], rtol=TOLERANCE, atol=TOLERANCE
        )
        values = spec_logprobs.log_softmax(x[i])
        np.testing.assert_allclose(values[np.asarray(ids[i][:top])], found, TOLERANCE, TOLERANCE)


def test_ties_among_the_likeliest_are_ranked_by_id() -> None:
    x = np.zeros((1, V), np.float32)
    _, _, ids = logprobs.report(x, np.array([0], np.int32), 5)
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
