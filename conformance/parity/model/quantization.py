"""Rounding to int8 and fp8, and quantized linear layers."""

from typing import Any

import jax
import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.tolerance import assert_close, assert_equal
from jax_backend.model import products, quantization
from reference.model import llama as spec_llama
from reference.model import quantization as spec
from reference.model.quantization_scheme import DYNAMIC, FP8, INT8, STATIC, Scheme
from reference.model.weights import Linear

T, IN, OUT = 5, 13, 11
Example = dict[str, Any]

SCHEMES = {
    "int8 weights": Scheme(number=INT8, rows=1),
    "int8": Scheme(number=INT8, rows=1, inputs=DYNAMIC),
    "int8, one static scale": Scheme(number=INT8, inputs=STATIC),
    "fp8 weights in blocks": Scheme(number=FP8, rows=4, columns=6),
    "fp8": Scheme(number=FP8, rows=1, inputs=DYNAMIC),
    "fp8, one static scale": Scheme(number=FP8, inputs=STATIC),
    "fp8 in blocks": Scheme(number=FP8, rows=4, columns=6, inputs=DYNAMIC),
}


def rounding(x: np.ndarray, coverage: Coverage) -> None:
    """Rounding to int8 and to fp8 is bitwise identical to the reference's: ties, saturation."""
    for number in INT8, FP8:
        actual = compiled(quantization.round_to, 1)(x, number)
        assert_equal(np.asarray(actual).astype(np.float32), spec.round_to(x, number), number)


def dynamic_scale(example: Example, coverage: Coverage) -> None:
    """Dynamic scales and rounded inputs are bitwise identical to the reference's."""
    x = example["x"] * np.float32(example["size"])
    for number in INT8, FP8:
        scale = np.asarray(compiled(quantization.dynamic_scale, 1)(x, number))
        assert_equal(scale, spec.dynamic_scale(x, number), number)
        rounded = np.asarray(compiled(quotient, 2)(x, scale, number)).astype(np.float32)
        assert_equal(rounded, spec.round_to(x / scale, number), number)


def quotient(x: jax.Array, scale: jax.Array, number: str) -> jax.Array:
    return quantization.round_to(x / scale, number)


def linear(example: Example, coverage: Coverage) -> None:
    """A quantized linear layer is right for each scheme, for one row and for several."""
    scheme, rng = SCHEMES[example["scheme"]], np.random.default_rng(example["seed"])
    x = example["x"] * np.float32(example["size"])
    numbers = rng.integers(-128, 128, (OUT, IN))
    q = numbers.astype(np.int8 if scheme.number == INT8 else ml_dtypes.float8_e4m3fn)
    scales = rng.uniform(0.01, 0.1, scheme.scale_shape(OUT, IN)).astype(np.float32)
    static = np.float32(0.03) if scheme.inputs == STATIC else None
    layer = Linear(
        weight=spec.dequantize(q, scales, scheme.rows, scheme.columns),
        input_rounding=None
        if scheme.inputs is None
        else spec.InputRounding(
            number=scheme.number,
            scale=None if static is None else float(static),
            columns=scheme.columns,
        ),
    )
    by_row = np.repeat(scales, scheme.rows or OUT, axis=0)[:OUT]
    size = np.abs(x).max() * np.abs(layer.weight).sum(axis=1)
    for count, block in ((1, products.ROWS), (T, 2)):
        run = compiled(quantization.quantized_product, 4, 5)
        actual = run(x[:count], q, by_row, static, scheme, block)
        assert_close(actual, spec_llama.linear(x[:count], layer), size=size)


def int8_product(example: Example, coverage: Coverage) -> None:
    """A product of int8 is exact, however many inputs there are."""
    rng = np.random.default_rng(example["seed"])
    extreme = rng.choice([-128, 127], (2, example["size"])).astype(np.int8)
    x, q = extreme[:1], np.concatenate([extreme, np.full_like(extreme, -128)])
    actual = compiled(quantization.int8_product, 2)(x, q, products.ROWS)
    assert_equal(actual, x.astype(np.int64) @ q.astype(np.int64).T)


# Values halfway between two numbers of a type, and next to them.
TIES = st.one_of(
    st.integers(-130, 130).map(lambda n: n + 0.5),
    st.integers(-(2**7), 2**7).map(lambda n: float(ml_dtypes.float8_e4m3fn(n)) * (1 + 2**-4)),
    st.integers(1, 40).map(lambda n: n * 2.0**-10),
)
NUMBERS = st.one_of(TIES, st.floats(-600, 600, width=32), st.sampled_from([0.0, -0.0, 1e30, -1e30]))
VALUES = st.floats(-4, 4, width=32, allow_subnormal=False)
ROWS = {
    "x": hnp.arrays(np.float32, (T, IN), elements=VALUES),
    "size": st.sampled_from([1.0, 1e-3, 1e3]),
}
SEEDS = st.integers(0, 2**32 - 1)

PROPERTIES = (
    Property(
        "quantization/rounding",
        hnp.arrays(np.float32, 64, elements=NUMBERS.map(lambda x: float(np.float32(x)))),
        rounding,
    ),
    Property("quantization/dynamic_scale", st.fixed_dictionaries(ROWS), dynamic_scale),
    Property(
        "quantization/linear",
        st.fixed_dictionaries({"scheme": st.sampled_from(list(SCHEMES)), "seed": SEEDS, **ROWS}),
        linear,
    ),
    Property(
        "quantization/int8_product",
        st.fixed_dictionaries({"size": st.sampled_from([1, 1024, 1025, 5000]), "seed": SEEDS}),
        int8_product,
    ),
)
