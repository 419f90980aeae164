"""Each platform's attention: batch invariance, page layout, use in a model, and compilation for its
platform. test_parity.py compares it with the reference.
"""

import math
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from conformance.parity.harness.tolerance import assert_near
from conformance.parity.model.attention import (
    BLOCKS,
    CPU,
    DEFAULT_PLATFORM,
    GROUPED,
    LONG,
    MANY,
    TPU,
    TRITON,
    XLA,
    Case,
    Queries,
    filled_pages,
    random_queries,
    run_attention,
)
from jax_backend.model.attention import select, tpu
from jax_backend.model.attention.base import PAGE_SIZE, Attention
from jax_backend.model.attention.select import for_platform, gpu_attention
from jax_backend.model.checkpoint import load
from jax_backend.serving import state
from jax_backend.serving.program import LaunchImages, compiled_program
from tests.goldens import GOLDENS


@st.composite
def queries_for(draw: st.DrawFn, case: Case) -> Queries:
    counts = [draw(st.integers(1, case.T)) for _ in range(case.B)]
    starts = [draw(st.integers(0, case.M * case.S - n)) for n in counts]
    return random_queries(case, starts, counts, draw(st.integers(0, 2**32 - 1)))


@pytest.mark.parametrize("case", [GROUPED, LONG, BLOCKS, MANY])
@pytest.mark.parametrize("attention", [CPU, TRITON, XLA], ids=["cpu", "triton", "xla"])
@given(data=st.data())
@settings(max_examples=10)
def test_output_depends_neither_on_other_rows_nor_on_page_ids(
    attention: Attention, case: Case, data: st.DataObject
) -> None:
    first, second = data.draw(queries_for(case)), data.draw(queries_for(case))
    names = set(vars(first)) - {"page_tables_BM"}
    mixed = replace(
        second, **{n: with_first_row(getattr(first, n), getattr(second, n)) for n in names}
    )
    alone, batched = (
        run_attention(attention, case, rows, filled_pages(attention, case, rows))
        for rows in (first, mixed)
    )
    count = first.counts_B[0]
    np.testing.assert_array_equal(alone[0, :count], batched[0, :count])


def with_first_row(first: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Replace the first row of `rest` by that of `first`."""
    return np.concatenate([first[:1], rest[1:]])


@pytest.mark.parametrize("attention", [CPU, TRITON, XLA], ids=["cpu", "triton", "xla"])
@given(start=st.integers(0, 50), shift=st.integers(0, 20), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_output_does_not_depend_on_the_position_in_a_chunk(
    attention: Attention, start: int, shift: int, seed: int
) -> None:
    """After a prefix-cache hit, prefill starts in the middle of a chunk."""
    case = BLOCKS
    whole = random_queries(case, [start] * case.B, [case.T] * case.B, seed)
    rest = replace(
        whole,
        q_BTNH=np.roll(whole.q_BTNH, -shift, axis=1),
        starts_B=whole.starts_B + shift,
        counts_B=whole.counts_B - shift,
    )
    outputs = (
        run_attention(attention, case, rows, filled_pages(attention, case, rows))
        for rows in (whole, rest)
    )
    all_queries, later_queries = outputs
    np.testing.assert_array_equal(all_queries[:, shift:], later_queries[:, : case.T - shift])


@pytest.mark.parametrize("attention", [CPU, TRITON, TPU], ids=["cpu", "triton", "tpu"])
def test_copy_page_in_every_layout(attention: Attention) -> None:
    case = GROUPED
    rows = random_queries(case, [40, 17, 0], [1, 1, 1], 0)
    pages = filled_pages(attention, case, rows)
    spare, source = case.B * case.M + 1, int(rows.page_tables_BM[0, 1])
    before = [np.array(x) for x in jax.tree.leaves(pages)]
    (pages,) = state.copy_page([pages], jnp.int32(source), jnp.int32(spare))
    for old, new in zip(before, jax.tree.leaves(pages), strict=True):
        assert np.isfinite(old[source]).any()
        np.testing.assert_array_equal(new[spare], old[source])
        np.testing.assert_array_equal(new[:spare], old[:spare])


def test_model_uses_the_given_attention() -> None:
    """The segment ends with three positions of padding."""
    logprobs = []
    for attention in (None, TRITON, XLA):
        model = load(GOLDENS / "gqa", attention=attention)
        assert model.attention is (attention or for_platform(DEFAULT_PLATFORM))
        graph, weights = nnx.split(model)
        assert nnx.merge(graph, weights).attention is model.attention
        segments = state.SegmentInputs(
            token=jnp.arange(8)[None] + 3,
            next_token=jnp.arange(8)[None] + 4,
            start=jnp.array([0]),
            num_tokens=jnp.array([5]),
            page_table=jnp.array([[2, 1]]),
        )
        leaves, structure = jax.tree.flatten(weights)
        layers, program = state.empty_pages(model, 2, 16), compiled_program(graph, structure)
        last_token = jnp.zeros(1, jnp.int32)
        _, _, hidden = program.forward(leaves, layers, last_token, None, segments, LaunchImages())
        prompt_logprobs = program.prompt_logprobs(leaves, hidden, segments.next_token, 4)
        logprobs.append(np.asarray(prompt_logprobs.logprob[:5]))
    assert_near(logprobs[1], logprobs[0])
    assert_near(logprobs[2], logprobs[0])


LLAMAS = [
    Case(B=8, T=1, N=32, K=8, H=128, S=64, M=64),
    Case(B=1, T=128, N=32, K=8, H=128, S=64, M=64),
    Case(B=1, T=32, N=32, K=32, H=128, S=64, M=64, window=4096),
    Case(B=8, T=1, N=9, K=3, H=64, S=32, M=16),
    Case(B=4, T=1, N=32, K=32, H=80, S=16, M=9),
]
DEVICES = {  # kernels depend on the device kind
    "cuda": AbstractDevice(device_kind="NVIDIA H200", num_cores=None, platform="gpu"),
    "tpu": AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu"),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", LLAMAS)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_real_sizes_compile(platform: str, case: Case, dtype: str) -> None:
    attention = for_platform(platform, "triton" if platform == "cuda" else "auto")
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


def test_unsupported_platforms_and_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="platform.*'abacus'"):
        for_platform("abacus")
    with pytest.raises(ValueError, match="page_size.*got 20"):
        TRITON.empty(GROUPED.config, 2, 20, jnp.dtype(jnp.float32))
    with pytest.raises(ValueError, match="head_dim.*got 256"):
        TPU.empty(Case(B=1, T=1, N=1, K=1, H=256, S=16, M=1).config, 2, 16, jnp.dtype(jnp.float32))
    assert for_platform("cpu") is CPU
    assert for_platform("gpu") is for_platform("cuda") is for_platform("rocm")
    for platform, kernel in ("cpu", "xla"), ("tpu", "triton"), ("gpu", "abacus"):
        with pytest.raises(ValueError, match=f"attention: '{kernel}' does not exist"):
            for_platform(platform, kernel)


def test_gpu_kernel_is_selected_by_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton where it runs, until JAX removes it; plain JAX on every other GPU."""
    ours = {c: gpu_attention("auto", c) for c in (None, (7, 0), (8, 0), (8, 9), (9, 0), (10, 0))}
    triton = for_platform("gpu", "triton")
    assert ours.pop((7, 0)) is XLA
    assert set(ours.values()) == {triton}
    assert for_platform("cuda", "xla") is gpu_attention("xla", (9, 0)) is XLA
    with pytest.raises(ValueError, match="attention: 'triton' needs compute capability 8.0"):
        gpu_attention("triton", (7, 5))
    monkeypatch.setitem(sys.modules, "jax_backend.model.attention.triton", None)
    assert gpu_attention("auto", (9, 0)) is XLA
    with pytest.raises(ValueError, match="attention: this JAX has no Pallas Triton"):
        gpu_attention("triton", (9, 0))


@pytest.mark.parametrize(
    ("reported", "capability"), [("9.0", (9, 0)), ("12.1", (12, 1)), ("gfx942", None), ("", None)]
)
def test_compute_capability_is_read_from_device(
    reported: str, capability: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = SimpleNamespace(compute_capability=reported)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert select.compute_capability() is None  # of a CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert select.compute_capability() == capability


@given(rows=st.integers(1, 1024), context=st.integers(1, 2**21))
def test_tpu_page_tables_fit_in_scalar_memory(rows: int, context: int) -> None:
    size = TPU.page_size(rows, context)
    assert size >= PAGE_SIZE and size & (size - 1) == 0

    def table_bytes(size: int) -> int:
        return 4 * rows * math.ceil(math.ceil(context / size) / 128) * 128

    assert table_bytes(size) <= tpu.SCALAR_MEMORY // 2
    assert size == PAGE_SIZE or table_bytes(size // 2) > tpu.SCALAR_MEMORY // 2


def test_page_size_of_long_contexts() -> None:
    """128 sequences of 131,072 tokens in pages of 64 need all of the scalar memory."""
    assert TPU.page_size(128, 131_072) == 128
    assert TPU.page_size(64, 131_072) == TPU.page_size(128, 4096) == PAGE_SIZE
    with pytest.raises(ValueError, match="slots: must be at most 1024 on a TPU, got 1025"):
        TPU.page_size(1025, 4096)
    assert CPU.page_size(4096, 2**20) == XLA.page_size(4096, 2**20) == PAGE_SIZE


@pytest.mark.parametrize(
    ("K", "H", "heads"),
    [(8, 128, 8), (8, 64, 4), (3, 64, 2), (1, 64, 1), (8, 32, 2), (5, 80, 8), (2, 48, 1)],
)
def test_tpu_pages_hold_as_many_heads_as_fit(K: int, H: int, heads: int) -> None:
    """Heads of 64 numbers take half of the memory of heads of 128."""
    config = Case(B=1, T=1, N=K, K=K, H=H, S=16, M=1).config
    pages = TPU.empty(config, 2, 16, jnp.dtype(jnp.bfloat16))
    (kv,) = jax.tree.leaves(pages)
    assert kv.shape == (2, 16, 2 * heads, 128)
