"""The decoder against transformers and a literal attention, and invariances of the decoder."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.model import llama
from reference.model.checkpoint import load
from reference.model.config import LlamaConfig
from reference.model.llama import KVCache
from reference.model.rope_config import RopeConfig
from reference.model.weights import Layer, Weights, expected_tensors
from tests.goldens import TEXT_MODELS

VOCAB_SIZE = 11
FEWER_EXAMPLES = settings(max_examples=settings().max_examples // 3)


@pytest.mark.parametrize("directory", TEXT_MODELS, ids=lambda path: path.name)
def test_logits_match_transformers(directory: Path) -> None:
    golden, checkpoint = np.load(directory / "golden.npz"), load(directory)
    weights, expected = checkpoint.weights, golden["logits"]
    x_TD = llama.hidden_states(weights, checkpoint.config, golden["tokens"])
    logits = llama.logits(weights, x_TD[golden["rows"]])
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() <= 1e-5 * np.ptp(expected)


@pytest.mark.parametrize("directory", TEXT_MODELS, ids=lambda path: path.name)
def test_rope_frequencies_match_transformers(directory: Path) -> None:
    frequencies = llama.rope_frequencies(load(directory).config)
    np.testing.assert_array_max_ulp(frequencies, np.load(directory / "golden.npz")["frequencies"])


def test_goldens_exist() -> None:
    assert len(TEXT_MODELS) >= 8


def small(**fields: Any) -> LlamaConfig:
    sizes = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "max_position_embeddings": 64,
    }
    return LlamaConfig(**sizes | fields)


def random_weights(config: LlamaConfig, dtype: Any = np.float64) -> Weights:
    rng = np.random.default_rng(0)
    shapes = expected_tensors(config)
    values = {name: rng.standard_normal(shape) / shape[-1] ** 0.5 for name, shape in shapes}
    return Weights.from_tensors(config, {name: v.astype(dtype) for name, v in values.items()})


FIELDS = st.fixed_dictionaries(
    {
        "num_key_value_heads": st.sampled_from([1, 2, 4]),
        "head_dim": st.sampled_from([2, 6]),
        "sliding_window": st.sampled_from([None, 1, 3]),
        "attention_bias": st.booleans(),
        "mlp_bias": st.booleans(),
        "tie_word_embeddings": st.booleans(),
    }
)
TOKENS = st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=1, max_size=12).map(np.array)


def run(weights: Weights, config: LlamaConfig, tokens_T: np.ndarray) -> np.ndarray:
    return llama.logits(weights, llama.hidden_states(weights, config, tokens_T))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-14)])
@given(data=st.data(), fields=FIELDS, tokens_T=TOKENS)
@FEWER_EXAMPLES
def test_split_into_blocks_does_not_matter(
    dtype: Any, tolerance: float, data: st.DataObject, fields: dict[str, Any], tokens_T: np.ndarray
) -> None:
    config = small(**fields)
    weights = random_weights(config, dtype)
    cuts = data.draw(st.sets(st.integers(1, len(tokens_T))))
    cache = KVCache.empty(config, dtype, capacity=data.draw(st.integers(0, 4)))
    blocks = [
        llama.hidden_states(weights, config, tokens_T[start:stop], cache)
        for start, stop in pairwise(sorted({0, *cuts, len(tokens_T)}))
    ]
    split, whole = np.concatenate(blocks), llama.hidden_states(weights, config, tokens_T)
    assert split.dtype == whole.dtype == cache.dtype == dtype
    assert cache.length == len(tokens_T)
    assert np.abs(split - whole).max() <= tolerance * np.abs(whole).max()


@given(fields=FIELDS, tokens_T=TOKENS, later=st.integers(0, VOCAB_SIZE - 1))
@FEWER_EXAMPLES
def test_attention_is_causal(fields: dict[str, Any], tokens_T: np.ndarray, later: int) -> None:
    config = small(**fields)
    weights, changed = random_weights(config, np.float32), tokens_T.copy()
    changed[-1] = later
    before, after = run(weights, config, tokens_T), run(weights, config, changed)
    assert np.array_equal(before[:-1], after[:-1])


def test_sliding_window() -> None:
    """With one layer and W = 3, position 5 depends only on the positions 3, 4 and 5."""
    config = small(num_hidden_layers=1, sliding_window=3)
    weights = random_weights(config)
    for position in range(6):
        tokens = np.arange(6)
        tokens[position] = 9
        same = np.allclose(run(weights, config, tokens)[5], run(weights, config, np.arange(6))[5])
        assert same == (position < 3)


def literal_attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, window: int | None
) -> np.ndarray:
    """Compute attention for one query, one head, one position at a time."""
    (T, N, H), (S, K, _) = q.shape, k.shape
    out = np.zeros((T, N, H))
    for t in range(T):
        i = S - T + t
        visible = [j for j in range(S) if j <= i and (window is None or i - j < window)]
        for n in range(N):
            head = n // (N // K)
            scores = [sum(q[t, n] * k[j, head]) / math.sqrt(H) for j in visible]
            weights = [math.exp(score) for score in scores]
            for j, weight in zip(visible, weights, strict=True):
                out[t, n] += weight / sum(weights) * v[j, head]
    return out


@given(
    T=st.integers(1, 5),
    earlier=st.integers(0, 5),
    K=st.sampled_from([1, 2, 3]),
    group=st.sampled_from([1, 2, 3]),
    window=st.one_of(st.none(), st.integers(1, 6)),
    seed=st.integers(0, 2**32),
)
def test_attention_matches_its_definition(
    T: int, earlier: int, K: int, group: int, window: int | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    q = rng.standard_normal((T, K * group, 4))
    k, v = rng.standard_normal((2, earlier + T, K, 4))
    result = llama.attention(q, k, v, window)
    np.testing.assert_allclose(result, literal_attention(q, k, v, window), rtol=0, atol=1e-13)
    # Grouped-query attention equals multi-head attention with repeated keys and values.
    repeated = (np.repeat(x, group, axis=1) for x in (k, v))
    np.testing.assert_allclose(result, llama.attention(q, *repeated, window), rtol=0, atol=1e-13)


@given(m=st.integers(0, 500), n=st.integers(0, 500), s=st.integers(0, 500), seed=st.integers(0, 99))
def test_rope_depends_only_on_the_distance(m: int, n: int, s: int, seed: int) -> None:
    """⟨R(m) q, R(n) k⟩ = ⟨R(m + s) q, R(n + s) k⟩, for frequencies whose angles are exact."""
    frequencies = np.float32(2.0) ** -np.arange(3, dtype=np.float32)
    q, k = np.random.default_rng(seed).standard_normal((2, 1, 1, 6))

    def rotated(x: np.ndarray, position: int) -> np.ndarray:
        return llama.rotate(x, *llama.rotation(frequencies, position, 1, np.float64)).ravel()

    before, after = rotated(q, m) @ rotated(k, n), rotated(q, m + s) @ rotated(k, n + s)
    assert abs(before - after) < 1e-12
    assert abs(np.linalg.norm(rotated(q, m)) - np.linalg.norm(q)) < 1e-12


def test_rope_rotates_by_position_times_frequency() -> None:
    """Halves are paired: (1, 0) at index r and r + H/2 becomes (cos, sin)."""
    config = small(head_dim=4, rope=RopeConfig(theta=100.0))
    frequencies = llama.rope_frequencies(config)
    np.testing.assert_allclose(frequencies, [1, 0.1], rtol=1e-7)
    x = np.array([[[1.0, 1.0, 0.0, 0.0]]])
    rotated = llama.rotate(x, *llama.rotation(frequencies, 7, 1, np.float64))[0, 0]
    expected = [math.cos(7), math.cos(0.7), math.sin(7), math.sin(0.7)]
    np.testing.assert_allclose(rotated, expected, atol=1e-6)


def test_angles_are_float32_for_float64_too() -> None:
    frequency, position = np.float32([0.1]), 100_003
    cos, sin = llama.rotation(frequency, position, 1, np.float64)
    angle = np.float64(np.float32(position) * frequency[0])
    assert (cos[0, 0], sin[0, 0]) == (np.cos(angle), np.sin(angle))
    assert abs(cos[0, 0] - np.cos(position * np.float64(frequency[0]))) > 1e-5


def test_llama3_keeps_high_frequencies_and_divides_low_ones() -> None:
    parameters = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope = RopeConfig(kind="llama3", theta=1e4, original_max_position_embeddings=100, **parameters)
    plain = llama.rope_frequencies(small(head_dim=64, rope=RopeConfig(theta=1e4)))
    scaled = llama.rope_frequencies(small(head_dim=64, rope=rope))
    turns = 100 * plain / (2 * np.pi)
    np.testing.assert_array_equal(scaled[turns > 4], plain[turns > 4])
    np.testing.assert_array_equal(scaled[turns < 1], plain[turns < 1] / 8)
    middle = (turns > 1) & (turns < 4)
    assert middle.any()
    assert ((plain / 8 < scaled) & (scaled < plain))[middle].all()
    assert (np.diff(scaled) < 0).all()


def test_rms_norm_and_silu() -> None:
    x = np.array([[3.0, -4.0]])
    np.testing.assert_allclose(
        llama.rms_norm(x, np.array([1.0, 2.0]), 0.5), x * [1, 2] / math.sqrt(12.5 + 0.5)
    )
    with np.errstate(all="raise", under="ignore"):
        extremes = llama.silu(np.array([-1e4, -1.0, 0.0, 1.0, 1e4], np.float32))
    assert extremes.dtype == np.float32
    np.testing.assert_allclose(
        extremes, [0, -1 / (1 + math.e), 0, 1 / (1 + math.exp(-1)), 1e4], rtol=1e-6
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_keep_the_dtype(dtype: Any) -> None:
    config = small(attention_bias=True, mlp_bias=True, sliding_window=2)
    weights = random_weights(config, dtype)
    layer: Layer = weights.layers[0]
    x = np.ones((3, 8), dtype)
    q, kv = np.ones((3, 4, 4), dtype), np.ones((3, 2, 4), dtype)
    cos, sin = llama.rotation(llama.rope_frequencies(config), 0, 3, dtype)
    results = [
        llama.rms_norm(x, weights.norm, 1e-6),
        llama.linear(x, layer.q_proj),
        llama.mlp(x, layer),
        llama.rotate(q, cos, sin),
        llama.attention(q, kv, kv, 2),
        run(weights, config, np.array([1, 2])),
    ]
    assert {result.dtype for result in results} == {np.dtype(dtype)}


@given(tokens_T=TOKENS, capacity=st.integers(0, 9), earlier=TOKENS)
@FEWER_EXAMPLES
def test_repeated_calls_are_bitwise_identical(
    tokens_T: np.ndarray, capacity: int, earlier: np.ndarray
) -> None:
    """The capacity of the cache and the order of its writes do not matter."""
    config = small()
    weights = random_weights(config, np.float32)
    cache = KVCache.empty(config)
    llama.hidden_states(weights, config, earlier, cache)
    rebuilt = KVCache.empty(config, capacity=capacity)
    for i in range(len(earlier)):
        rebuilt.append(*cache.block(i, i + 1))
    caches = cache.copy(), rebuilt, cache
    results = [llama.hidden_states(weights, config, tokens_T, c) for c in caches]
    assert all(np.array_equal(results[0], result) for result in results)
    ends = [np.concatenate(c.block(0, c.length)) for c in caches]
    assert all(np.array_equal(ends[0], end) for end in ends)


def test_copy_of_a_cache_is_independent() -> None:
    config = small()
    weights = random_weights(config, np.float32)
    cache = KVCache.empty(config, capacity=8)
    llama.hidden_states(weights, config, np.arange(3), cache)
    copy, keys = cache.copy(), cache.block(0, 3)[0]
    llama.hidden_states(weights, config, np.arange(4), copy)
    assert (cache.length, copy.length) == (3, 7)
    assert np.array_equal(cache.block(0, 3)[0], keys)
    keys[:] = 0
    assert cache.block(0, 3)[0].any()


def test_cache_errors() -> None:
    config = small()
    cache = KVCache.empty(config)
    llama.hidden_states(random_weights(config, np.float32), config, np.arange(3), cache)
    for start, stop in [(-1, 2), (2, 1), (0, 4)]:
        with pytest.raises(ValueError, match="block"):
            cache.block(start, stop)
    with pytest.raises(ValueError, match="float64"):
        llama.hidden_states(random_weights(config), config, np.arange(3), cache)
    assert cache.length == 3


@pytest.mark.parametrize("tokens", [[-1], [0, VOCAB_SIZE], [10**9]])
def test_ids_outside_the_vocabulary(tokens: list[int]) -> None:
    config = small()
    with pytest.raises(ValueError, match=str(tokens[-1])):
        llama.hidden_states(random_weights(config), config, np.array(tokens))


def test_empty_input() -> None:
    config = small()
    with pytest.raises(ValueError, match="none"):
        llama.hidden_states(random_weights(config), config, np.array([], np.int64))
