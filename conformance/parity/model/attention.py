"""Each platform's attention over pages, against the reference's in float64.

Without a GPU, its kernel is interpreted. Without a TPU, JAX's own definition stands in for its
kernel, which JAX (0.10) cannot interpret.

Why `LOGIT` is enough in float32: queries, keys and values are below 1, H is at most 16. So a score
is a sum of 16 products below 1, over 4, and its 16 roundings of 2⁻²⁴ of at most 16 make less than
2⁻¹⁷. A weight is off by twice as much of itself, a mean by twice that, 2⁻¹⁵, and 640 roundings of
2⁻²⁴ are less than 4 · 10⁻⁵ more: together less than 7 · 10⁻⁵.
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
from conformance.parity.harness.property import Property, Tally
from conformance.parity.harness.tolerance import BFLOAT16, LOGIT, near
from jax_backend.model.attention import gpu, tpu
from jax_backend.model.attention.cpu import CPU as CPU
from jax_backend.model.attention.cpu import Attention, Pages
from reference.model import llama
from reference.model.config import LlamaConfig


def defined(q: jax.Array, *rest: jax.Array, **options: Any) -> jax.Array:
    """What the TPU's kernel computes, and garbage behind it."""
    options = {name: options[name] for name in ("sm_scale", "sliding_window")}
    out = ref_ragged_paged_attention(q, *rest, **options)
    return jnp.full_like(q, jnp.nan).at[: len(out)].set(out)


HERE = jax.default_backend()
GPU = replace(gpu.GPU, attend=partial(gpu.attend, interpret=HERE != "gpu"))
TPU = replace(tpu.TPU, attend=partial(tpu.attend, kernel=defined))
TPU = tpu.TPU if HERE == "tpu" else TPU


Example = dict[str, Any]


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
LONG = Case(B=2, T=1, N=3, K=1, H=10, S=32, M=20, window=300)  # five splits on a GPU
CHUNK = Case(B=1, T=20, N=2, K=2, H=16, S=16, M=3)
BLOCKS = Case(B=2, T=24, N=9, K=3, H=8, S=48, M=2, window=9)  # two of queries on a GPU
MANY = Case(B=17, T=1, N=2, K=2, H=8, S=16, M=3, window=20)  # two groups on a CPU
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
        real: np.ndarray = np.arange(self.q_BTNH.shape[1]) < self.counts_B[:, None]
        return real

    @property
    def positions_BT(self) -> np.ndarray:
        i = np.arange(self.q_BTNH.shape[1], dtype=np.int32)
        positions: np.ndarray = self.starts_B[:, None] + np.where(self.real_BT, i, 0)
        return positions.astype(np.int32)


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


def write(attention: Attention, *rest: Any) -> Pages:
    return attention.write(*rest)


def attend(attention: Attention, *rest: Any) -> jax.Array:
    return attention.attend(*rest)


def kept(attention: Attention, case: Case, rows: Rows) -> Pages:
    """Pages as they are when the queries come. What the rows have not written is NaN, in their own
    pages as well; there is one page more than they need.
    """
    put = compiled(write, 0)
    pages = attention.empty(case.config, case.B * case.M + 2, case.S, jnp.dtype(case.dtype))
    pages = jax.tree.map(lambda x: np.full(x.shape, np.nan, x.dtype), pages)
    j_BS = np.tile(np.arange(case.M * case.S, dtype=np.int32), (case.B, 1))
    earlier_BS = j_BS < rows.starts_B[:, None]
    pages = put(attention, pages, rows.k_BSKH, rows.v_BSKH, rows.tables_BM, j_BS, earlier_BS)
    b, positions_BT = np.arange(case.B)[:, None], rows.positions_BT
    k_BTKH, v_BTKH = rows.k_BSKH[b, positions_BT], rows.v_BSKH[b, positions_BT]
    return put(attention, pages, k_BTKH, v_BTKH, rows.tables_BM, positions_BT, rows.real_BT)


def attended(attention: Attention, case: Case, rows: Rows, pages: Pages) -> np.ndarray:
    """(B, T, N, H), as float32."""
    # JAX's definition looks at the lengths, so it cannot be compiled for any.
    compute = attend if attention is TPU else compiled(attend, 0, 5)
    # Another platform than its own may round a CPU's factors to fewer bits.
    foreign = attention is CPU and HERE != "cpu"
    with jax.default_matmul_precision("highest") if foreign else nullcontext():
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


def check(attention: Attention, example: Example, tally: Tally) -> None:
    """Raises AssertionError if the queries do not attend as the reference's do."""
    case = CASES[example["case"]]
    rows = random_rows(case, example["starts"], example["counts"], example["seed"])
    found = attended(attention, case, rows, kept(attention, case, rows))
    within = LOGIT if case.dtype == "float32" else BFLOAT16
    for b, count in enumerate(rows.counts_B):
        near(found[b, :count], expected(case, rows, b), within)


def on_cpu(example: Example, tally: Tally) -> None:
    """A CPU's attention is the reference's, in pages, and in rows some of whose queries pad."""
    check(CPU, example, tally)


def on_gpu(example: Example, tally: Tally) -> None:
    """A GPU's attention is the reference's; without a GPU its kernel is interpreted."""
    check(GPU, example, tally)


def on_tpu(examples: tuple[Example, ...], tally: Tally) -> None:
    """A TPU's attention is the reference's; without a TPU as JAX defines its kernel."""
    for example in examples:
        check(TPU, example, tally)


@st.composite
def placed(draw: st.DrawFn) -> Example:
    """A case, where the queries of its rows stand, and a seed for the values."""
    name = draw(st.sampled_from(list(CASES)))
    case, seed = CASES[name], draw(st.integers(0, 2**32 - 1))
    counts = [draw(st.integers(1, case.T)) for _ in range(case.B)]
    starts = [draw(st.integers(0, case.M * case.S - n)) for n in counts]
    return {"case": name, "starts": starts, "counts": counts, "seed": seed}


def standing_at(case: str, starts: list[int], counts: list[int]) -> st.SearchStrategy[Example]:
    """The same in one place: what stands in for a TPU's kernel is compiled for each length."""
    return st.fixed_dictionaries(
        {
            "case": st.just(case),
            "starts": st.just(starts),
            "counts": st.just(counts),
            "seed": st.integers(0, 2**32 - 1),
        }
    )


BOTH = st.tuples(
    standing_at("blocks", starts=[72, 40], counts=[24, 16]),
    standing_at("grouped, bfloat16", starts=[47, 23, 0], counts=[1, 1, 1]),
)

PROPERTIES = (
    Property("attention/cpu", placed(), on_cpu),
    Property("attention/gpu", placed(), on_gpu),
    Property("attention/tpu", st.tuples(placed()) if HERE == "tpu" else BOTH, on_tpu),
)
