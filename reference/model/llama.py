"""The Llama model, from token ids to logits: functions over weights.

    embedding → L × (x + attention(norm(x)); x + mlp(norm(x))) → norm → logits

Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023), with grouped-query
attention (Ainslie et al., "GQA", 2023) and a sliding window (Jiang et al., "Mistral 7B", 2023). All
arithmetic is in the dtype of the weights, float32 or float64. A result depends only on the tokens,
their positions and the cache, so repeated calls are bitwise identical.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Integer
from numpy.typing import DTypeLike

from reference.model.config import LlamaConfig
from reference.model.quantization import rounded, rounded_input
from reference.model.weights import Layer, Linear, Weights


def hidden_states(
    weights: Weights,
    config: LlamaConfig,
    tokens_T: Integer[np.ndarray, "T"],
    cache: "KVCache | None" = None,
    x_TD: Float[np.ndarray, "T D"] | None = None,
) -> Float[np.ndarray, "T D"]:
    """Run T tokens through the model, and return their hidden states after the last norm.

    With a cache, the tokens follow the cached ones, attend to them, and are added to the cache.
    Without one, they are the start of the text. x_TD: input embeddings, if not those of the tokens.
    Raises ValueError for no tokens, and for an id outside the vocabulary.
    """
    x_TD = embedding(weights, config, tokens_T) if x_TD is None else x_TD
    if cache is None:
        cache = KVCache.empty(config, weights.dtype)
    cache.reserve(len(tokens_T))
    cos_TR, sin_TR = rotation(rope_frequencies(config), cache.length, len(tokens_T), weights.dtype)

    for index, layer in enumerate(weights.layers):
        y_TD = rms_norm(x_TD, layer.input_layernorm, config.rms_norm_eps)
        q_TNH = rotate(_split(linear(y_TD, layer.q_proj), config.head_dim), cos_TR, sin_TR)
        k_TKH = rotate(_split(linear(y_TD, layer.k_proj), config.head_dim), cos_TR, sin_TR)
        v_TKH = _split(linear(y_TD, layer.v_proj), config.head_dim)
        if config.kv_dtype is not None:
            k_TKH = rounded(k_TKH, layer.k_scale, config.kv_dtype)
            v_TKH = rounded(v_TKH, layer.v_scale, config.kv_dtype)
        k_SKH, v_SKH = cache.write(index, k_TKH, v_TKH)
        out_TNH = attention(q_TNH, k_SKH, v_SKH, config.sliding_window)
        x_TD = x_TD + linear(out_TNH.reshape(len(tokens_T), -1), layer.o_proj)

        y_TD = rms_norm(x_TD, layer.post_attention_layernorm, config.rms_norm_eps)
        x_TD = x_TD + mlp(y_TD, layer)
    cache.length += len(tokens_T)
    return rms_norm(x_TD, weights.norm, config.rms_norm_eps)


def embedding(
    weights: Weights, config: LlamaConfig, tokens_T: Integer[np.ndarray, "T"]
) -> Float[np.ndarray, "T D"]:
    """Look up the embedding of each token."""
    _check_tokens(tokens_T, config)
    return weights.embedding[tokens_T]


def logits(weights: Weights, x_TD: Float[np.ndarray, "T D"]) -> Float[np.ndarray, "T V"]:
    """Project hidden states to the logits of the next token."""
    return x_TD @ weights.lm_head.T


def linear(x_TI: Float[np.ndarray, "T in"], layer: Linear) -> Float[np.ndarray, "T out"]:
    """Compute y = W x + b for each of T rows, with x rounded first if the layer's inputs are
    quantized.
    """
    if layer.input_rounding is not None:
        x_TI = rounded_input(x_TI, layer.input_rounding)
    y_TO = x_TI @ layer.weight.T
    return y_TO if layer.bias is None else y_TO + layer.bias


def rms_norm(
    x_TD: Float[np.ndarray, "T D"], weight: Float[np.ndarray, "D"], eps: float
) -> Float[np.ndarray, "T D"]:
    """Divide each row by its root mean square.

    Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).
    """
    mean_square = np.mean(x_TD * x_TD, axis=-1, keepdims=True)
    return x_TD / np.sqrt(mean_square + eps) * weight


def mlp(x_TD: Float[np.ndarray, "T D"], layer: Layer) -> Float[np.ndarray, "T D"]:
    """Compute SwiGLU: down(silu(gate(x)) · up(x)).

    Shazeer, "GLU Variants Improve Transformer" (2020).
    """
    return linear(
        silu(linear(x_TD, layer.gate_proj)) * linear(x_TD, layer.up_proj), layer.down_proj
    )


def silu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Compute x · sigmoid(x) without overflow of the exponential."""
    e = np.exp(-np.abs(x))
    return x * np.where(x >= 0, 1, e) / (1 + e)


def attention(
    q_TNH: Float[np.ndarray, "T N H"],
    k_SKH: Float[np.ndarray, "S K H"],
    v_SKH: Float[np.ndarray, "S K H"],
    window: int | None = None,
) -> Float[np.ndarray, "T N H"]:
    """Compute softmax(q·k / √H) v. The queries are those of the last T of S positions.

    Causal: position i attends to the positions j ≤ i, and with a window W only to i − W < j. Query
    head n uses KV head n // (N / K). Vaswani et al., "Attention Is All You Need" (2017).
    """
    (T, N, H), (S, K, _) = q_TNH.shape, k_SKH.shape
    q_TKGH = (q_TNH * H**-0.5).reshape(T, K, N // K, H)  # G query heads share a KV head
    scores_KGTS = np.einsum("tkgh,skh->kgts", q_TKGH, k_SKH)
    i, j = np.arange(S - T, S)[:, None], np.arange(S)
    causal_TS = (j <= i) if window is None else (j <= i) & (i - window < j)
    weights_KGTS = softmax(np.where(causal_TS, scores_KGTS, -np.inf))
    return np.einsum("kgts,skh->tkgh", weights_KGTS, v_SKH).reshape(T, N, H)


def softmax(x: Float[np.ndarray, "... S"]) -> Float[np.ndarray, "... S"]:
    """Compute exp(x) over its sum, along the last axis. Each row must have a finite value."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rope_frequencies(config: LlamaConfig) -> Float32[np.ndarray, "R"]:
    """Return the angle per position, in radians, of each of the R = H / 2 pairs of a head.

    default: θ^(−2r/H). Su et al., "RoFormer" (2021).
    linear:  divided by `factor`. Chen et al., "Positional Interpolation" (2023).
    llama3:  divided by `factor` where the original length has fewer than `low_freq_factor` turns,
             unchanged where it has more than `high_freq_factor`, interpolated in between.
             Grattafiori et al., "The Llama 3 Herd of Models" (2024), and its published code.

    They are computed in float32, for a float64 model too: models are trained and served with these
    values, and after a few thousand positions one ulp of a frequency is an angle of 10⁻⁴ radians.
    """
    rope = config.rope
    exponent = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    power = np.float64(np.float32(rope.theta)) ** exponent.astype(np.float64)
    frequency = 1 / power.astype(np.float32)
    if rope.factor is None:
        return frequency
    divided = frequency / rope.factor
    if rope.kind == "linear":
        return divided
    low, high, length = (
        rope.low_freq_factor,
        rope.high_freq_factor,
        rope.original_max_position_embeddings,
    )
    if low is None or high is None or length is None:
        raise ValueError(f"rope: llama3 parameters are missing in {rope}")
    turns = length / (2 * math.pi / frequency)
    smooth = (turns - low) / (high - low)
    interpolated = (1 - smooth) * divided + smooth * frequency
    return np.where(turns < low, divided, np.where(turns > high, frequency, interpolated))


def rotation(
    frequencies: Float32[np.ndarray, "R"], start: int, count: int, dtype: DTypeLike
) -> tuple[Float[np.ndarray, "T R"], Float[np.ndarray, "T R"]]:
    """Return cosine and sine of each pair's angle, at the positions start … start + count − 1.

    An angle is a float32 product, as in training; its cosine is rounded once, to dtype.
    """
    positions = np.arange(start, start + count).astype(np.float32)
    angles_TR = (positions[:, None] * frequencies).astype(np.float64)
    return np.cos(angles_TR).astype(dtype), np.sin(angles_TR).astype(dtype)


def rotate(
    x_TNH: Float[np.ndarray, "T N H"],
    cos_TR: Float[np.ndarray, "T R"],
    sin_TR: Float[np.ndarray, "T R"],
) -> Float[np.ndarray, "T N H"]:
    """Rotate each pair by its angle.

    Pair r is (r, r + H/2), as in Hugging Face files; the original layout is (2r, 2r + 1).
    """
    a_TNR, b_TNR = np.split(x_TNH, 2, axis=-1)
    cos, sin = cos_TR[:, None], sin_TR[:, None]
    return np.concatenate([a_TNR * cos - b_TNR * sin, b_TNR * cos + a_TNR * sin], axis=-1)


class KVCache:
    """Rotated keys and values of the first `length` tokens, for every layer; of an fp8 cache, their
    rounded values.

    The arrays have room for more tokens, and double when they are full.
    """

    def __init__(
        self,
        k_LSKH: Float[np.ndarray, "L S K H"],
        v_LSKH: Float[np.ndarray, "L S K H"],
        length: int = 0,
    ) -> None:
        self._k_LSKH, self._v_LSKH, self.length = k_LSKH, v_LSKH, length

    @classmethod
    def empty(
        cls, config: LlamaConfig, dtype: DTypeLike = np.float32, capacity: int = 0
    ) -> "KVCache":
        """Return a cache without tokens, with room for `capacity` of them."""
        shape = (config.num_hidden_layers, capacity, config.num_key_value_heads, config.head_dim)
        return cls(np.empty(shape, dtype), np.empty(shape, dtype))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._k_LSKH.dtype

    @property
    def capacity(self) -> int:
        return self._k_LSKH.shape[1]

    def block(
        self, start: int, stop: int
    ) -> tuple[Float[np.ndarray, "L T K H"], Float[np.ndarray, "L T K H"]]:
        """Return copies of the keys and values of the tokens start … stop − 1."""
        if not 0 <= start <= stop <= self.length:
            raise ValueError(
                f"block: must be within 0 … {self.length} cached tokens, got {start} … {stop}"
            )
        return self._k_LSKH[:, start:stop].copy(), self._v_LSKH[:, start:stop].copy()

    def copy(self) -> "KVCache":
        """Return an independent cache of the same tokens."""
        return KVCache(*self.block(0, self.length), self.length)

    def append(
        self, k_LTKH: Float[np.ndarray, "L T K H"], v_LTKH: Float[np.ndarray, "L T K H"]
    ) -> None:
        """Add the keys and values of `block`, after the same tokens that preceded them there."""
        count = k_LTKH.shape[1]
        self.reserve(count)
        for index, (k_TKH, v_TKH) in enumerate(zip(k_LTKH, v_LTKH, strict=True)):
            self.write(index, k_TKH, v_TKH)
        self.length += count

    def reserve(self, count: int) -> None:
        """Ensure room for `count` more tokens."""
        needed = self.length + count
        if needed > self.capacity:
            self._k_LSKH, self._v_LSKH = (
                self._resized(array, max(needed, 2 * self.capacity))
                for array in (self._k_LSKH, self._v_LSKH)
            )

    def write(
        self, layer: int, k_TKH: Float[np.ndarray, "T K H"], v_TKH: Float[np.ndarray, "T K H"]
    ) -> tuple[Float[np.ndarray, "S K H"], Float[np.ndarray, "S K H"]]:
        """Write the next tokens' keys and values to one layer, and return all of that layer's.

        The caller increases `length` once every layer is written.
        """
        if not k_TKH.dtype == v_TKH.dtype == self.dtype:
            raise ValueError(f"cache: must be {self.dtype}, got {k_TKH.dtype} and {v_TKH.dtype}")
        stop = self.length + len(k_TKH)
        self._k_LSKH[layer, self.length : stop] = k_TKH
        self._v_LSKH[layer, self.length : stop] = v_TKH
        return self._k_LSKH[layer, :stop], self._v_LSKH[layer, :stop]

    def _resized(self, array: np.ndarray, capacity: int) -> np.ndarray:
        layers, _, *rest = array.shape
        larger = np.empty((layers, capacity, *rest), array.dtype)
        larger[:, : self.length] = array[:, : self.length]
        return larger


def _split(x: Float[np.ndarray, "T Q"], head_dim: int) -> Float[np.ndarray, "T heads H"]:
    return x.reshape(len(x), -1, head_dim)


def _check_tokens(tokens_T: Integer[np.ndarray, "T"], config: LlamaConfig) -> None:
    if not len(tokens_T):
        raise ValueError("tokens: must have at least one, got none")
    for token in (int(tokens_T.min()), int(tokens_T.max())):
        if not 0 <= token < config.vocab_size:
            raise ValueError(f"tokens: ids must be 0 … {config.vocab_size - 1}, got {token}")
