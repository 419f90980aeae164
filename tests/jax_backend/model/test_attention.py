"""Each platform's attention against itself in other company, and in a model. That it is the
reference's is in test_parity.py; that it becomes a program for its platform is a test, too.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from conformance.parity.harness.tolerance import near
from conformance.parity.model.attention import (
    BLOCKS,
    CPU,
    GPU,
    GROUPED,
    HERE,
    LONG,
    MANY,
    TPU,
    Case,
    Rows,
    attended,
    kept,
    random_rows,
)
from jax_backend.model.attention.cpu import Attention, for_platform
from jax_backend.model.checkpoint import load
from jax_backend.serving import step
from tests.goldens import GOLDENS


@st.composite
def rows_of(draw: st.DrawFn, case: Case) -> Rows:
    counts = [draw(st.integers(1, case.T)) for _ in range(case.B)]
    starts = [draw(st.integers(0, case.M * case.S - n)) for n in counts]
    return random_rows(case, starts, counts, draw(st.integers(0, 2**32 - 1)))


@pytest.mark.parametrize("case", [GROUPED, LONG, BLOCKS, MANY])
@pytest.mark.parametrize("attention", [CPU, GPU], ids=["cpu", "gpu"])
@given(data=st.data())
@settings(max_examples=10)
def test_other_rows_and_the_place_of_pages_change_no_bit(
    attention: Attention, case: Case, data: st.DataObject
) -> None:
    first, second = data.draw(rows_of(case)), data.draw(rows_of(case))
    names = set(vars(first)) - {"tables_BM"}
    mixed = replace(second, **{n: joined(getattr(first, n), getattr(second, n)) for n in names})
    alone, among = (
        attended(attention, case, rows, kept(attention, case, rows)) for rows in (first, mixed)
    )
    count = first.counts_B[0]
    np.testing.assert_array_equal(alone[0, :count], among[0, :count])


def joined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The first row of one, and the other's others."""
    return np.concatenate([one[:1], other[1:]])


@pytest.mark.parametrize("attention", [CPU, GPU], ids=["cpu", "gpu"])
@given(start=st.integers(0, 50), shift=st.integers(0, 20), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_a_query_is_the_same_wherever_it_is_in_its_chunk(
    attention: Attention, start: int, shift: int, seed: int
) -> None:
    """As the scheduler has it: a prompt whose beginning is cached is read from the middle of a
    chunk on.
    """
    case = BLOCKS
    whole = random_rows(case, [start] * case.B, [case.T] * case.B, seed)
    rest = replace(
        whole,
        q_BTNH=np.roll(whole.q_BTNH, -shift, axis=1),
        starts_B=whole.starts_B + shift,
        counts_B=whole.counts_B - shift,
    )
    found, again = (
        attended(attention, case, rows, kept(attention, case, rows)) for rows in (whole, rest)
    )
    np.testing.assert_array_equal(found[:, shift:], again[:, : case.T - shift])


@pytest.mark.parametrize("attention", [CPU, GPU, TPU], ids=["cpu", "gpu", "tpu"])
def test_a_page_is_copied_in_every_layout(attention: Attention) -> None:
    case = GROUPED
    rows = random_rows(case, [40, 17, 0], [1, 1, 1], 0)
    pages = kept(attention, case, rows)
    spare, source = case.B * case.M + 1, int(rows.tables_BM[0, 1])
    before = [np.array(x) for x in jax.tree.leaves(pages)]
    (pages,) = step.copy_page([pages], jnp.int32(source), jnp.int32(spare))
    for old, new in zip(before, jax.tree.leaves(pages), strict=True):
        assert np.isfinite(old[source]).any()
        np.testing.assert_array_equal(new[spare], old[source])
        np.testing.assert_array_equal(new[:spare], old[:spare])


def test_a_model_keeps_the_attention_that_it_is_given() -> None:
    """A chunk through the model, its last three places padding."""
    found = []
    for attention in (None, GPU):
        model = load(GOLDENS / "gqa", attention=attention)
        assert model.attention is (attention or for_platform(HERE))
        graph, weights = nnx.split(model)
        assert nnx.merge(graph, weights).attention is model.attention
        chunk = step.Chunk(
            token=jnp.arange(8) + 3,
            following=jnp.arange(8) + 4,
            start=jnp.int32(0),
            skip=jnp.int32(0),
            count=jnp.int32(5),
            table=jnp.array([2, 1]),
        )
        leaves, structure = jax.tree.flatten(weights)
        layers = step.empty_pages(model, 2, 16)
        _, reports = step.program(graph, structure).read(leaves, layers, chunk, None, 4)
        found.append(np.asarray(reports.logprob[:5]))
    near(*found)


LLAMAS = [
    Case(B=8, T=1, N=32, K=8, H=128, S=64, M=64),
    Case(B=1, T=128, N=32, K=8, H=128, S=64, M=64),
    Case(B=1, T=32, N=32, K=32, H=128, S=64, M=64, window=4096),
    Case(B=8, T=1, N=9, K=3, H=64, S=32, M=16),
    Case(B=4, T=1, N=32, K=32, H=80, S=16, M=9),
]
DEVICES = {  # a kernel asks which one it is for
    "cuda": AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu"),
    "tpu": AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu"),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", LLAMAS)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_real_sizes_become_programs(platform: str, case: Case, dtype: str) -> None:
    attention = for_platform(platform)
    pages = jax.eval_shape(lambda: attention.empty(case.config, 129, case.S, jnp.dtype(dtype)))
    arguments = (
        jax.ShapeDtypeStruct((case.B, case.T, case.N, case.H), dtype),
        pages,
        jax.ShapeDtypeStruct((case.B, case.M), jnp.int32),
        jax.ShapeDtypeStruct((case.B, case.T), jnp.int32),
    )
    with use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=DEVICES[platform])):
        traced = jax.jit(partial(attention.attend, window=case.window)).trace(*arguments)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert {"cuda": "triton", "tpu": "tpu_custom_call"}[platform] in text


def test_what_a_platform_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="platform.*'abacus'"):
        for_platform("abacus")
    with pytest.raises(ValueError, match="page_size: 20"):
        GPU.empty(GROUPED.config, 2, 20, jnp.float32)
    with pytest.raises(ValueError, match="head_dim: 256"):
        TPU.empty(Case(B=1, T=1, N=1, K=1, H=256, S=16, M=1).config, 2, 16, jnp.float32)
    assert for_platform("cpu") is CPU
    assert for_platform("gpu") is for_platform("cuda") is for_platform("rocm")
