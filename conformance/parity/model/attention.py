"""Each platform's attention over a paged KV cache, compared with the reference's in float64.

Without a GPU, its Pallas kernel is interpreted. Without a TPU, JAX's own reference implementation
replaces its kernel, which JAX (0.10) cannot interpret.

Why `LOGIT_TOLERANCE` suffices in float32: queries, keys and values are below 1, H is at most 16. So
a score is a sum of 16 products below 1, divided by 4; its 16 roundings of 2⁻²⁴ of at most 16 are
less than 2⁻¹⁷. The relative error of a weight is twice that, and of a mean twice again, 2⁻¹⁵.
Another 640 roundings of 2⁻²⁴ are less than 4 · 10⁻⁵: together less than 7 · 10⁻⁵.
"""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import (
    ref_ragged_paged_attention,
)

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.tolerance import BFLOAT16_TOLERANCE, LOGIT_TOLERANCE, assert_near
from jax_backend.model.attention import tpu, triton
from jax_backend.model.attention.base import Attention, Pages
from jax_backend.model.attention.cpu import CPU as CPU
from jax_backend.model.attention.xla import XLA as XLA
from reference.model import llama
from reference.model.config import LlamaConfig


def reference_kernel(q: jax.Array, *rest: jax.Array, **options: Any) -> jax.Array:
    """Compute the result of the TPU's kernel, with NaN after the valid queries."""
    options = {name: options[name] for name in ("sm_scale", "sliding_window")}
    out = ref_ragged_paged_attention(q, *rest, **options)
    return jnp.full_like(q, jnp.nan).at[: len(out)].set(out)


DEFAULT_PLATFORM = jax.default_backend()
TRITON = replace(triton.TRITON, attend=partial(triton.attend, interpret=DEFAULT_PLATFORM != "gpu"))
TPU = replace(tpu.TPU, attend=partial(tpu.attend, kernel=reference_kernel))
TPU = tpu.TPU if DEFAULT_PLATFORM == "tpu" else TPU


Example = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Array sizes by their letters; S positions per page, M pages per row."""

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
LONG = Case(B=2, T=1, N=3, K=1, H=10, S=32, M=20, window=300)  # 5 splits of Triton, 2 XLA blocks
CHUNK = Case(B=1, T=20, N=2, K=2, H=16, S=16, M=3)
BLOCKS = Case(B=2, T=24, N=9, K=3, H=8, S=48, M=2, window=9)  # 2 query blocks on a GPU
MANY = Case(B=17, T=1, N=2, K=2, H=8, S=16, M=3, window=20)  # 2 groups of rows on a CPU
CASES = {
    "grouped": GROUPED,
    "long": LONG,
    "chunk": CHUNK,
    "blocks": BLOCKS,
    "many": MANY,
    "grouped, bfloat16": replace(GROUPED, dtype="bfloat16"),
    "many, bfloat16": replace(MANY, dtype="bfloat16"),
    "chunk, bfloat16": replace(CHUNK, dtype="bfloat16"),
}


@dataclass(frozen=True)
class Queries:
    """Inputs of attention. starts_B: the position of the first query of a row. counts_B: its valid
    queries, without padding. k_BSKH, v_BSKH: keys and values of all positions of its pages.
    """

    q_BTNH: np.ndarray
    k_BSKH: np.ndarray
    v_BSKH: np.ndarray
    page_tables_BM: np.ndarray
    starts_B: np.ndarray
    counts_B: np.ndarray

    @property
    def valid_BT(self) -> np.ndarray:
        valid: np.ndarray = np.arange(self.q_BTNH.shape[1]) < self.counts_B[:, None]
        return valid

    @property
    def positions_BT(self) -> np.ndarray:
        i = np.arange(self.q_BTNH.shape[1], dtype=np.int32)
        positions: np.ndarray = self.starts_B[:, None] + np.where(self.valid_BT, i, 0)
        return positions.astype(np.int32)


def random_queries(case: Case, starts: list[int], counts: list[int], seed: int) -> Queries:
    """Return random inputs, with the pages of all rows in a random order."""
    rng = np.random.default_rng(seed)

    def uniform(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(jnp.dtype(case.dtype))

    return Queries(
        q_BTNH=uniform(case.B, case.T, case.N, case.H),
        k_BSKH=uniform(case.B, case.M * case.S, case.K, case.H),
        v_BSKH=uniform(case.B, case.M * case.S, case.K, case.H),
        page_tables_BM=rng.permutation(case.B * case.M).reshape(case.B, case.M).astype(np.int32)
        + 1,
        starts_B=np.array(starts, np.int32),
        counts_B=np.array(counts, np.int32),
    )


def write(attention: Attention, *rest: Any) -> Pages:
    return attention.write(*rest)


def attend(attention: Attention, *rest: Any) -> jax.Array:
    return attention.attend(*rest)


def filled_pages(attention: Attention, case: Case, rows: Queries) -> Pages:
    """Return the pages as the queries find them, and a spare page. Unwritten positions are NaN."""
    write_pages = compiled(write, 0)
    pages = attention.empty(case.config, case.B * case.M + 2, case.S, jnp.dtype(case.dtype))
    pages = jax.tree.map(lambda x: np.full(x.shape, np.nan, x.dtype), pages)
    j_BS = np.tile(np.arange(case.M * case.S, dtype=np.int32), (case.B, 1))
    earlier_BS = j_BS < rows.starts_B[:, None]
    pages = write_pages(
        attention, pages, rows.k_BSKH, rows.v_BSKH, rows.page_tables_BM, j_BS, earlier_BS
    )
    b, positions_BT = np.arange(case.B)[:, None], rows.positions_BT
    k_BTKH, v_BTKH = rows.k_BSKH[b, positions_BT], rows.v_BSKH[b, positions_BT]
    return write_pages(
        attention, pages, k_BTKH, v_BTKH, rows.page_tables_BM, positions_BT, rows.valid_BT
    )


def run_attention(attention: Attention, case: Case, rows: Queries, pages: Pages) -> np.ndarray:
    """Run an attention and return its output, (B, T, N, H), as float32."""
    q_BTNH, page_tables_BM = jnp.asarray(rows.q_BTNH), jnp.asarray(rows.page_tables_BM)
    positions_BT = jnp.asarray(rows.positions_BT)
    # JAX's reference implementation reads concrete lengths, so it cannot be compiled.
    compute = attend if attention is TPU else compiled(attend, 0, 5)
    # On another platform, CPU attention may use factors of fewer bits by default.
    cross_platform = attention is CPU and DEFAULT_PLATFORM != "cpu"
    with jax.default_matmul_precision("highest") if cross_platform else nullcontext():
        out = compute(attention, q_BTNH, pages, page_tables_BM, positions_BT, case.window)
    return np.asarray(out, np.float32)


def expected(case: Case, rows: Queries, b: int) -> np.ndarray:
    """Return the reference's output for the queries of row b, (count, N, H)."""
    count, stop = rows.counts_B[b], rows.starts_B[b] + rows.counts_B[b]
    q, k, v = (
        np.asarray(x[b, :size], np.float64)
        for x, size in ((rows.q_BTNH, count), (rows.k_BSKH, stop), (rows.v_BSKH, stop))
    )
    return llama.attention(q, k, v, case.window)


def check(attention: Attention, example: Example, coverage: Coverage) -> None:
    """Assert that an attention gives the reference's output."""
    case = CASES[example["case"]]
    rows = random_queries(case, example["starts"], example["counts"], example["seed"])
    actual = run_attention(attention, case, rows, filled_pages(attention, case, rows))
    within = LOGIT_TOLERANCE if case.dtype == "float32" else BFLOAT16_TOLERANCE
    for b, count in enumerate(rows.counts_B):
        assert_near(actual[b, :count], expected(case, rows, b), within)


def on_cpu(example: Example, coverage: Coverage) -> None:
    """CPU attention is the reference's, over pages, and in rows with padding."""
    check(CPU, example, coverage)


def on_gpu_with_triton(example: Example, coverage: Coverage) -> None:
    """Triton's attention is the reference's; without a GPU its kernel is interpreted."""
    check(TRITON, example, coverage)


def on_gpu_with_xla(example: Example, coverage: Coverage) -> None:
    """The attention of a GPU without a kernel is the reference's."""
    check(XLA, example, coverage)


def on_tpu(batch: tuple[Example, ...], coverage: Coverage) -> None:
    """TPU attention is the reference's; without a TPU, JAX's definition replaces its kernel."""
    for example in batch:
        check(TPU, example, coverage)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Generate a case, the positions of its queries, and a seed for the values."""
    name = draw(st.sampled_from(list(CASES)))
    case, seed = CASES[name], draw(st.integers(0, 2**32 - 1))
    counts = [draw(st.integers(1, case.T)) for _ in range(case.B)]
    starts = [draw(st.integers(0, case.M * case.S - n)) for n in counts]
    return {"case": name, "starts": starts, "counts": counts, "seed": seed}


def fixed_examples(case: str, starts: list[int], counts: list[int]) -> st.SearchStrategy[Example]:
    """Generate values only: the replacement of the TPU's kernel is compiled for each length."""
    return st.fixed_dictionaries(
        {
            "case": st.just(case),
            "starts": st.just(starts),
            "counts": st.just(counts),
            "seed": st.integers(0, 2**32 - 1),
        }
    )


TPU_EXAMPLES = st.tuples(
    fixed_examples("blocks", starts=[72, 40], counts=[24, 16]),
    fixed_examples("grouped, bfloat16", starts=[47, 23, 0], counts=[1, 1, 1]),
)

PROPERTIES = (
    Property("attention/cpu", examples(), on_cpu),
    Property("attention/triton", examples(), on_gpu_with_triton),
    Property("attention/xla", examples(), on_gpu_with_xla),
    Property(
        "attention/tpu",
        st.tuples(examples()) if DEFAULT_PLATFORM == "tpu" else TPU_EXAMPLES,
        on_tpu,
    ),
)
