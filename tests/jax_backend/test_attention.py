"""Each platform's attention against the reference's, and against itself in other company.

Without a GPU, its kernel is interpreted. Without a TPU, JAX's own definition stands in for its
kernel, which JAX (0.10) cannot interpret. That both become programs for their platform is a test,
too.
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import ref_ragged_paged_attention
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from conformance.parity import agreement
from jax_backend import attention_gpu, attention_tpu, step
from jax_backend.attention import CPU, Attention, Pages, for_platform
from jax_backend.checkpoint import load
from reference import llama
from reference.config import LlamaConfig
from tests.goldens import GOLDENS


def defined(q: jax.Array, *rest: jax.Array, **options: object) -> jax.Array:
    """What the TPU's kernel computes, and garbage behind it."""
    options = {name: options[name] for name in ("sm_scale", "sliding_window")}
    out = ref_ragged_paged_attention(q, *rest, **options)
    return jnp.full_like(q, jnp.nan).at[: len(out)].set(out)


HERE = jax.default_backend()
GPU = replace(attention_gpu.GPU, attend=partial(attention_gpu.attend, interpret=HERE != "gpu"))
TPU = replace(attention_tpu.TPU, attend=partial(attention_tpu.attend, kernel=defined))
TPU = attention_tpu.TPU if HERE == "tpu" else TPU


@dataclass(frozen=True)
class Case:
    """Sizes by their letters; S positions in a page, M pages in a row."""

    B: int
    T: int
    N: int
    K: int
    H: int
    S: int
    M: int
    window: int | None = None
    dtype: str = "float32"

    @property
    def config(self) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=8,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=self.N,
            num_key_value_heads=self.K,
            head_dim=self.H,
            max_position_embeddings=self.M * self.S,
        )


GROUPED = Case(B=3, T=1, N=4, K=2, H=16, S=16, M=3)
LONG = Case(B=2, T=1, N=3, K=1, H=10, S=32, M=20, window=300)  # two splits on a GPU
CHUNK = Case(B=1, T=20, N=2, K=2, H=16, S=16, M=3)
BLOCKS = Case(B=2, T=24, N=9, K=3, H=8, S=48, M=2, window=9)  # two of queries on a GPU
HALVES = [Case(**{**vars(case), "dtype": "bfloat16"}) for case in (GROUPED, CHUNK)]
CASES = [GROUPED, LONG, CHUNK, BLOCKS, *HALVES]

# Queries, keys and values are below 1, H is at most 16. So a score is a sum of 16 products below 1,
# over 4, and its 16 roundings of 2⁻²⁴ of at most 16 make less than 2⁻¹⁷. A weight is off by twice
# as much of itself, a mean by twice that, and 640 roundings of 2⁻²⁴ are less than 2⁻¹⁴ more.
# In bfloat16 weights and means are rounded to 2⁻⁹ of themselves.
TOLERANCES = {"float32": 2**-13, "bfloat16": 2**-7}


@dataclass(frozen=True)
class Rows:
    """starts_B: the position of a row's first query. counts_B: how many of its queries do not pad.
    k_BSKH, v_BSKH: of all positions that a row has room for.
    """

    q_BTNH: np.ndarray
    k_BSKH: np.ndarray
    v_BSKH: np.ndarray
    tables_BM: np.ndarray
    starts_B: np.ndarray
    counts_B: np.ndarray

    @property
    def real_BT(self) -> np.ndarray:
        return np.arange(self.q_BTNH.shape[1]) < self.counts_B[:, None]

    @property
    def positions_BT(self) -> np.ndarray:
        i = np.arange(self.q_BTNH.shape[1], dtype=np.int32)
        return self.starts_B[:, None] + np.where(self.real_BT, i, 0).astype(np.int32)


def random_rows(case: Case, starts: list[int], counts: list[int], seed: int) -> Rows:
    rng = np.random.default_rng(seed)

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(jnp.dtype(case.dtype))

    return Rows(
        q_BTNH=uniform(case.B, case.T, case.N, case.H),
        k_BSKH=uniform(case.B, case.M * case.S, case.K, case.H),
        v_BSKH=uniform(case.B, case.M * case.S, case.K, case.H),
        tables_BM=rng.permutation(case.B * case.M).reshape(case.B, case.M).astype(np.int32) + 1,
        starts_B=np.array(starts, np.int32),
        counts_B=np.array(counts, np.int32),
    )


@st.composite
def rows_of(draw: st.DrawFn, case: Case) -> Rows:
    counts = [draw(st.integers(1, case.T)) for _ in range(case.B)]
    starts = [draw(st.integers(0, case.M * case.S - n)) for n in counts]
    return random_rows(case, starts, counts, draw(st.integers(0, 2**32 - 1)))


WRITE = jax.jit(lambda attention, *rest: attention.write(*rest), static_argnums=0)
ATTEND = jax.jit(lambda attention, *rest: attention.attend(*rest), static_argnums=(0, 5))


def kept(attention: Attention, case: Case, rows: Rows) -> Pages:
    """Pages as they are when the queries come. What the rows have not written is NaN, in their own
    pages as well; there is one page more than they need.
    """
    pages = attention.empty(case.config, case.B * case.M + 2, case.S, jnp.dtype(case.dtype))
    pages = jax.tree.map(lambda x: np.full(x.shape, np.nan, x.dtype), pages)
    j_BS = np.tile(np.arange(case.M * case.S, dtype=np.int32), (case.B, 1))
    earlier_BS = j_BS < rows.starts_B[:, None]
    pages = WRITE(attention, pages, rows.k_BSKH, rows.v_BSKH, rows.tables_BM, j_BS, earlier_BS)
    b, positions_BT = np.arange(case.B)[:, None], rows.positions_BT
    k_BTKH, v_BTKH = rows.k_BSKH[b, positions_BT], rows.v_BSKH[b, positions_BT]
    return WRITE(attention, pages, k_BTKH, v_BTKH, rows.tables_BM, positions_BT, rows.real_BT)


def attended(attention: Attention, case: Case, rows: Rows, pages: Pages) -> np.ndarray:
    """(B, T, N, H), as float32."""
    # JAX's definition looks at the lengths, so it cannot be compiled for any.
    compute = ATTEND if attention is not TPU else lambda a, *rest: a.attend(*rest)
    out = compute(attention, rows.q_BTNH, pages, rows.tables_BM, rows.positions_BT, case.window)
    return np.asarray(out, np.float32)


def expected(case: Case, rows: Rows, b: int) -> np.ndarray:
    """(count, N, H): the reference's, of row b's queries."""
    count, stop = rows.counts_B[b], rows.starts_B[b] + rows.counts_B[b]
    q, k, v = (
        np.asarray(x[b, :size], np.float64)
        for x, size in ((rows.q_BTNH, count), (rows.k_BSKH, stop), (rows.v_BSKH, stop))
    )
    return llama.attention(q, k, v, case.window)


def is_right(attention: Attention, case: Case, rows: Rows) -> None:
    found = attended(attention, case, rows, kept(attention, case, rows))
    for b, count in enumerate(rows.counts_B):
        np.testing.assert_allclose(
            found[b, :count], expected(case, rows, b), rtol=0, atol=TOLERANCES[case.dtype]
        )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("attention", [CPU, GPU], ids=["cpu", "gpu"])
@given(data=st.data())
@settings(max_examples=20)
def test_the_reference_agrees(attention: Attention, case: Case, data: st.DataObject) -> None:
    is_right(attention, case, data.draw(rows_of(case)))


@pytest.mark.parametrize("case", [BLOCKS, HALVES[0]])
def test_the_reference_agrees_with_a_tpu(case: Case) -> None:
    """Two examples: what stands in for the kernel is compiled for each length."""
    last = case.M * case.S
    full, ragged = [case.T] * case.B, [max(1, case.T - 5 * b - 3) for b in range(case.B)]
    for seed, counts in enumerate((full, ragged)):
        starts = [(last - n) // (b + 1) for b, n in enumerate(counts)]
        is_right(TPU, case, random_rows(case, starts, counts, seed))


@pytest.mark.parametrize("case", [GROUPED, LONG, BLOCKS])
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
        _, reports = step.program(graph, structure).read(leaves, layers, chunk, 4)
        found.append(np.asarray(reports.logprob[:5]))
    np.testing.assert_allclose(*found, rtol=0, atol=agreement.TOLERANCE)


LLAMAS = [
    Case(B=8, T=1, N=32, K=8, H=128, S=64, M=64),
    Case(B=1, T=128, N=32, K=8, H=128, S=64, M=64),
    Case(B=1, T=32, N=32, K=32, H=128, S=64, M=64, window=4096),
    Case(B=8, T=1, N=9, K=3, H=64, S=32, M=16),
    Case(B=4, T=1, N=32, K=32, H=80, S=16, M=9),
]
V5E = AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", LLAMAS)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_real_sizes_become_programs(platform: str, case: Case, dtype: str) -> None:
    if platform == "cuda" and HERE != "gpu" and jax.__version_info__ > (0, 10, 2):
        pytest.skip("newer versions compile for a GPU at once, with what comes with its driver")
    attention = for_platform(platform)
    pages = jax.eval_shape(lambda: attention.empty(case.config, 129, case.S, jnp.dtype(dtype)))
    arguments = (
        jax.ShapeDtypeStruct((case.B, case.T, case.N, case.H), dtype),
        pages,
        jax.ShapeDtypeStruct((case.B, case.M), jnp.int32),
        jax.ShapeDtypeStruct((case.B, case.T), jnp.int32),
    )
    # A TPU's kernel asks which TPU it is for.
    with use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=V5E)):
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
