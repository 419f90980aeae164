"""The Mosaic GPU kernel, interpreted: it agrees with the reference, and the result of a row does
not depend on other rows. `make gpu` assembles it.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

from conformance.parity.harness.tolerance import BFLOAT16_TOLERANCE, assert_near
from conformance.parity.model.attention import (
    Case,
    Queries,
    expected,
    filled_pages,
    random_queries,
    run_attention,
)
from jax_backend.model.attention import mosaic
from jax_backend.model.attention.select import gpu_attention

# The interpreter also reports accesses of shared memory that are not ordered by a barrier.
INTERPRETER: Any = InterpretGPUParams(detect_races=True)
MOSAIC = replace(mosaic.MOSAIC, attend=partial(mosaic.attend, interpret=INTERPRETER))

DECODE = Case(B=2, T=1, N=3, K=1, H=48, S=64, M=6, window=210, dtype="bfloat16")  # 3 splits
PREFILL = Case(B=2, T=24, N=6, K=2, H=64, S=128, M=1, dtype="bfloat16")  # 2 query blocks
WINDOW = Case(B=1, T=40, N=2, K=1, H=64, S=64, M=3, window=9, dtype="bfloat16")


def run(case: Case, rows: Queries) -> np.ndarray:
    """Run the kernel on pages with NaN wherever no key was written."""
    return run_attention(MOSAIC, case, rows, filled_pages(MOSAIC, case, rows))


def test_decoding_is_the_reference() -> None:
    """More blocks than stages, and a window that begins and ends within a block."""
    rows = random_queries(DECODE, [383, 17], [1, 1], 0)
    actual = run(DECODE, rows)
    for b in range(DECODE.B):
        assert_near(actual[b], expected(DECODE, rows, b), BFLOAT16_TOLERANCE)


@pytest.mark.lane
@pytest.mark.parametrize(
    ("case", "starts", "counts"),
    [
        (DECODE, [0, 191], [1, 1]),
        (DECODE, [64, 63], [1, 1]),
        (PREFILL, [0, 100], [24, 3]),
        (PREFILL, [60, 1], [1, 24]),
        (WINDOW, [150], [40]),
    ],
)
def test_prefill_and_decoding_are_the_reference(
    case: Case, starts: list[int], counts: list[int]
) -> None:
    rows = random_queries(case, starts, counts, sum(starts))
    actual = run(case, rows)
    for b, count in enumerate(counts):
        assert_near(actual[b, :count], expected(case, rows, b), BFLOAT16_TOLERANCE)


@pytest.mark.lane
@pytest.mark.parametrize("case", [DECODE, PREFILL])
def test_output_does_not_depend_on_other_rows(case: Case) -> None:
    first = random_queries(case, [70, 5], [case.T, case.T], 1)
    second = random_queries(case, [3, 90], [1, case.T], 2)
    # the page ids of the first stay valid: they are exchanged, not replaced
    mixed = replace(
        first,
        **{
            name: np.concatenate([getattr(first, name)[:1], getattr(second, name)[1:]])
            for name in ("q_BTNH", "k_BSKH", "v_BSKH", "starts_B", "counts_B")
        },
    )
    np.testing.assert_array_equal(run(case, first)[0], run(case, mixed)[0])


def test_unsupported_models_and_gpus_are_refused() -> None:
    with pytest.raises(ValueError, match="^dtype: must be bfloat16.*got float32"):
        mosaic.empty(DECODE.config, 2, 64, jnp.dtype(jnp.float32))
    with pytest.raises(ValueError, match="^page_size: .*multiple of 64.*got 96"):
        mosaic.empty(DECODE.config, 2, 96, jnp.dtype(jnp.bfloat16))
    assert gpu_attention("mosaic", (9, 0)) is gpu_attention("mosaic", None) is mosaic.MOSAIC
    for capability in (8, 0), (10, 0), (12, 0):
        with pytest.raises(ValueError, match="^attention: 'mosaic' needs compute capability 9.0"):
            gpu_attention("mosaic", capability)
