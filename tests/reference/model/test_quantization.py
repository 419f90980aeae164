"""Quantized numbers against literal definitions."""

import doctest

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reference.model import llama, quantization, quantization_scheme
from reference.model.quantization import (
    LIMIT,
    InputRounding,
    dequantize,
    dynamic_scale,
    round_to,
    rounded,
    rounded_input,
    unpack,
)
from reference.model.quantization_scheme import FP8, INT8
from reference.model.weights import Linear

# Every number of a type, in ascending order.
FP8_NUMBERS = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
NUMBERS = {
    INT8: np.arange(-128, 128).astype(np.float64),
    FP8: np.unique(FP8_NUMBERS[~np.isnan(FP8_NUMBERS)]),
}
FLOATS = st.one_of(
    st.floats(-600, 600, width=32),
    st.floats(-(2.0**-6), 2.0**-6, width=32),
    st.sampled_from([1e9, -1e9, 127.5, -127.5, -128.5, 0.5, 1.5, 464.0, 2.0**-10, 3 * 2.0**-10]),
)
ROWS = hnp.arrays(np.float32, (3, 7), elements=st.floats(-100, 100, width=32))


@pytest.mark.parametrize("module", [quantization, quantization_scheme])
def test_examples_run(module: object) -> None:
    results = doctest.testmod(module)  # type: ignore[arg-type]
    assert results.attempted and not results.failed


def nearest(x: float, number: str) -> float:
    """Return the nearest number of a type; of two, the one whose last bit is 0."""
    numbers = NUMBERS[number]
    distance = np.abs(numbers - x)
    [*candidates] = numbers[distance == distance.min()]
    if len(candidates) == 1:
        return float(candidates[0])
    is_even = {
        INT8: lambda n: n % 2 == 0,
        FP8: lambda n: np.float32(n).astype(ml_dtypes.float8_e4m3fn).view(np.uint8) % 2 == 0,
    }[number]
    [even] = [n for n in candidates if is_even(n)]
    return float(even)


@given(x=FLOATS, number=st.sampled_from([INT8, FP8]))
def test_rounding_is_to_the_nearest_number(x: float, number: str) -> None:
    assert round_to(np.array([x], np.float32), number)[0] == nearest(x, number)


@pytest.mark.parametrize("number", [INT8, FP8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_the_type_are_kept(number: str, dtype: type) -> None:
    kept = round_to(NUMBERS[number].astype(dtype), number)
    assert kept.dtype == dtype and np.array_equal(kept, NUMBERS[number])


@given(x=ROWS, number=st.sampled_from([INT8, FP8]))
def test_dynamic_scale_uses_the_whole_range(x: np.ndarray, number: str) -> None:
    scale = dynamic_scale(x, number)
    for row, s in zip(x, scale, strict=True):
        largest = np.abs(row).max()
        if largest > 1e-30:
            assert s == pytest.approx([largest / LIMIT[number]], rel=1e-6)
            error = np.abs(rounded(row, s, number) - row)
            step = 1 if number == INT8 else 2 * np.maximum(np.abs(row / s) / 16, 2.0**-10)
            assert (error <= s * step * 0.501).all()
        else:
            assert not rounded(row, s, number).any()


@given(x=ROWS, number=st.sampled_from([INT8, FP8]), columns=st.sampled_from([None, 1, 3, 7, 9]))
def test_rows_and_blocks_are_rounded_by_themselves(
    x: np.ndarray, number: str, columns: int | None
) -> None:
    rounding = InputRounding(number=number, columns=columns)
    whole, width = rounded_input(x, rounding), columns or 7
    for i, row in enumerate(x):
        for start in range(0, 7, width):
            part = row[None, start : start + width]
            alone = rounded_input(part, InputRounding(number=number))
            assert np.array_equal(whole[None, i, start : start + width], alone)


@given(x=ROWS, scale=st.floats(2.0**-6, 8, width=32), number=st.sampled_from([INT8, FP8]))
def test_static_scale(x: np.ndarray, scale: float, number: str) -> None:
    actual = rounded_input(x, InputRounding(number=number, scale=scale))
    expected = [[nearest(float(v / np.float32(scale)), number) for v in row] for row in x]
    np.testing.assert_allclose(actual, np.float32(scale) * np.array(expected, np.float32))


@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    rows=st.sampled_from([None, 1, 2, 3, 8]),
    columns=st.sampled_from([None, 1, 2, 3, 8]),
)
def test_weights_of_a_block_share_a_scale(
    shape: tuple[int, int], rows: int | None, columns: int | None
) -> None:
    rng, (count, size) = np.random.default_rng(0), shape
    q = rng.integers(-128, 128, shape).astype(np.int8)
    height, width = rows or count, columns or size
    scales = rng.uniform(1, 2, (-(-count // height), -(-size // width))).astype(np.float32)
    expected = [
        [scales[o // height, i // width] * np.float32(q[o, i]) for i in range(size)]
        for o in range(count)
    ]
    assert np.array_equal(dequantize(q, scales, rows, columns), np.array(expected, np.float32))


@given(q=hnp.arrays(np.int8, st.tuples(st.integers(1, 3), st.integers(1, 9))))
def test_unpacked_weights_are_those_packed(q: np.ndarray) -> None:
    packed = np.zeros((len(q), -(-q.shape[1] // 4)), np.int64)
    for (o, i), value in np.ndenumerate(q):
        packed[o, i // 4] |= (int(value) + 128) << (8 * (i % 4))
    stored = packed.astype(np.uint32).view(np.int32)
    assert np.array_equal(unpack(stored, q.shape[1]), q)


def test_inputs_are_rounded_before_the_bias_is_added() -> None:
    layer = Linear(
        weight=np.array([[2.0, 3.0]]),
        bias=np.array([0.3]),
        input_rounding=InputRounding(number=INT8, scale=1.0),
    )
    assert llama.linear(np.array([[0.9, 2.2]]), layer).tolist() == [[2.0 + 6.0 + 0.3]]
