"""The Llama model, from token ids to logits: functions over weights.

    embedding → L × (x + attention(norm(x)); x + mlp(norm(x))) → norm → logits

Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023), with grouped-query
attention (Ainslie et al., "GQA", 2023) and a sliding window (Jiang et al., "Mistral 7B", 2023). All
arithmetic is in the dtype of the weights, float32 or float64. A result depends on the tokens, their
position and the cache alone, so the same call gives the same bits.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Integer
from numpy.typing import DTypeLike

from reference.model.config import LlamaConfig
from reference.model.weights import Layer, Linear, Weights


def hidden_states(
    weights: Weights,
    config: LlamaConfig,
    tokens_T: Integer[np.ndarray, "T"],
    cache: "Cache | None" = None,
    x_TD: Float[np.ndarray, "T D"] | None = None,
) -> Float[np.ndarray, "T D"]:
    """Run T tokens through the model, and return what the last norm makes of them.

    With a cache, the tokens come after those that it holds, attend to them, and are added to it.
    Without one, they are the start of the text. x_TD: what is read in the places of the tokens, if
    not their rows of the embedding. Raises ValueError for no tokens, and for an id outside of the
    vocabulary.
    """
    x_TD = embedding(weights, config, tokens_T) if x_TD is None else x_TD
    if cache is None:
        cache = Cache.empty(config, weights.dtype)
    cache.reserve(len(tokens_T))
    cos_TR, sin_TR = rotation(rope_frequencies(config), cache.length, len(tokens_T), weights.dtype)

    for index, layer in enumerate(weights.layers):
        y_TD = rms_norm(x_TD, layer.input_layernorm, config.rms_norm_eps)
        q_TNH = rotate(_split(linear(y_TD, layer.q_proj), config.head_dim), cos_TR, sin_TR)
        k_TKH = rotate(_split(linear(y_TD, layer.k_proj), config.head_dim), cos_TR, sin_TR)
        v_TKH = _split(linear(y_TD, layer.v_proj), config.head_dim)
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
    """A row of the embedding for each token."""
    _check_tokens(tokens_T, config)
    return weights.embedding[tokens_T]


def logits(weights: Weights, x_TD: Float[np.ndarray, "T D"]) -> Float[np.ndarray, "T V"]:
    """The score of every token of the vocabulary as the next one, from `hidden_states`."""
    return x_TD @ weights.lm_head.T


def linear(x_TI: Float[np.ndarray, "T in"], layer: Linear) -> Float[np.ndarray, "T out"]:
    """y = W x + b for each of T rows."""
    y_TO = x_TI @ layer.weight.T
    return y_TO if layer.bias is None else y_TO + layer.bias


def rms_norm(
    x_TD: Float[np.ndarray, "T D"], weight: Float[np.ndarray, "D"], eps: float
) -> Float[np.ndarray, "T D"]:
    """Divide each row by its root mean square. Zhang and Sennrich (2019), "Root Mean Square Layer
    Normalization".
    """
    mean_square = np.mean(x_TD * x_TD, axis=-1, keepdims=True)
    return x_TD / np.sqrt(mean_square + eps) * weight


def mlp(x_TD: Float[np.ndarray, "T D"], layer: Layer) -> Float[np.ndarray, "T D"]:
    """SwiGLU: down(silu(gate(x)) · up(x)). Shazeer, "GLU Variants Improve Transformer" (2020)."""
    return linear(
        silu(linear(x_TD, layer.gate_proj)) * linear(x_TD, layer.up_proj), layer.down_proj
    )


def silu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """x · sigmoid(x), written so that no exponential overflows."""
    e = np.exp(-np.abs(x))
    return x * np.where(x >= 0, 1, e) / (1 + e)


def attention(
    q_TNH: Float[np.ndarray, "T N H"],
    k_SKH: Float[np.ndarray, "S K H"],
    v_SKH: Float[np.ndarray, "S K H"],
    window: int | None = None,
) -> Float[np.ndarray, "T N H"]:
    """softmax(q·k / √H) v. The queries are those of the last T of S positions.

    Causal: position i sees the positions j ≤ i, and with a window W only those with i − W < j.
    Query head n uses key head n // (N / K). Vaswani et al., "Attention Is All You Need" (2017).
    """
    (T, N, H), (S, K, _) = q_TNH.shape, k_SKH.shape
    # The heads that share keys are the rows of one matrix product.
    q_KRH = q_TNH.reshape(T, K, N // K, H).transpose(1, 2, 0, 3).reshape(K, -1, H)
    scores_KRS = (q_KRH * H**-0.5) @ k_SKH.transpose(1, 2, 0)
    i, j = np.arange(S - T, S)[:, None], np.arange(S)
    seen_TS = (j <= i) if window is None else (j <= i) & (i - window < j)
    scores_KGTS = np.where(seen_TS, scores_KRS.reshape(K, N // K, T, S), -np.inf)
    out_KRH = softmax(scores_KGTS).reshape(K, -1, S) @ v_SKH.transpose(1, 0, 2)
    return out_KRH.reshape(K, N // K, T, H).transpose(2, 0, 1, 3).reshape(T, N, H)


def softmax(x: Float[np.ndarray, "... S"]) -> Float[np.ndarray, "... S"]:
    """exp(x) over its sum, along the last axis. At least one value of each row is finite."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rope_frequencies(config: LlamaConfig) -> Float32[np.ndarray, "R"]:
    """How far each of the R = H / 2 pairs of a head turns per position, in radians.

    default: θ^(−2r/H). Su et al., "RoFormer" (2021).
    linear:  divided by `factor`. Chen et al., "Positional Interpolation" (2023).
    llama3:  divided by `factor` where the original length holds fewer than `low_freq_factor` turns,
             kept where it holds more than `high_freq_factor`, in proportion in between.
             Grattafiori et al., "The Llama 3 Herd of Models" (2024), and its published code.

    These are float32 numbers, rounded after each step, for a model in float64 too: that is what
    models are trained and served with, and a few thousand positions on, an ulp of a frequency
    turns a pair by 10⁻⁴ radians.
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
        raise ValueError(f"rope: {rope} is not complete")
    turns = length / (2 * math.pi / frequency)
    share = (turns - low) / (high - low)
    between = (1 - share) * divided + share * frequency
    return np.where(turns < low, divided, np.where(turns > high, frequency, between))


def rotation(
    frequencies: Float32[np.ndarray, "R"], start: int, count: int, dtype: DTypeLike
) -> tuple[Float[np.ndarray, "T R"], Float[np.ndarray, "T R"]]:
    """Cosine and sine of each pair's angle, at the positions start to start + count − 1.

    An angle is a product in float32, as in training; its cosine is rounded once, to dtype.
    """
    positions = np.arange(start, start + count).astype(np.float32)
    angles_TR = (positions[:, None] * frequencies).astype(np.float64)
    return np.cos(angles_TR).astype(dtype), np.sin(angles_TR).astype(dtype)


def rotate(
    x_TNH: Float[np.ndarray, "T N H"],
    cos_TR: Float[np.ndarray, "T R"],
    sin_TR: Float[np.ndarray, "T R"],
) -> Float[np.ndarray, "T N H"]:
    """Turn each pair by its angle. Pair r is (r, r + H/2), as in Hugging Face's files; the original
    layout is (2r, 2r + 1).
    """
    a_TNR, b_TNR = np.split(x_TNH, 2, axis=-1)
    cos, sin = cos_TR[:, None], sin_TR[:, None]
    return np.concatenate([a_TNR * cos - b_TNR * sin, b_TNR * cos + a_TNR * sin], axis=-1)


class Cache:
    """The keys (already rotated) and values of a text's first `length` tokens, for every layer.

    The arrays have room for more tokens than they hold, and grow by doubling.
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
    ) -> "Cache":
        """No tokens, and room for `capacity` of them."""
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
        """Copies of the keys and values of the tokens start … stop − 1."""
        if not 0 <= start <= stop <= self.length:
            raise ValueError(
                f"block: {start} to {stop} is not within the {self.length} cached tokens"
            )
        return self._k_LSKH[:, start:stop].copy(), self._v_LSKH[:, start:stop].copy()

    def copy(self) -> "Cache":
        """A cache of the same tokens that can be continued on its own."""
        return Cache(*self.block(0, self.length), self.length)

    def append(
        self, k_LTKH: Float[np.ndarray, "L T K H"], v_LTKH: Float[np.ndarray, "L T K H"]
    ) -> None:
        """Add what `block` gave, at the position and after the tokens that it came from."""
        count = k_LTKH.shape[1]
        self.reserve(count)
        for index, (k_TKH, v_TKH) in enumerate(zip(k_LTKH, v_LTKH, strict=True)):
            self.write(index, k_TKH, v_TKH)
        self.length += count

    def reserve(self, count: int) -> None:
        """Make room for `count` more tokens."""
        needed = self.length + count
        if needed > self.capacity:
            self._k_LSKH, self._v_LSKH = (
                self._grown(array, max(needed, 2 * self.capacity))
                for array in (self._k_LSKH, self._v_LSKH)
            )

    def write(
        self, layer: int, k_TKH: Float[np.ndarray, "T K H"], v_TKH: Float[np.ndarray, "T K H"]
    ) -> tuple[Float[np.ndarray, "S K H"], Float[np.ndarray, "S K H"]]:
        """Put the next tokens' keys and values into one layer, and return all of that layer's.

        They are not held until every layer is written and `length` is raised.
        """
        if not k_TKH.dtype == v_TKH.dtype == self.dtype:
            raise ValueError(f"cache: holds {self.dtype}, not {k_TKH.dtype} and {v_TKH.dtype}")
        stop = self.length + len(k_TKH)
        self._k_LSKH[layer, self.length : stop] = k_TKH
        self._v_LSKH[layer, self.length : stop] = v_TKH
        return self._k_LSKH[layer, :stop], self._v_LSKH[layer, :stop]

    def _grown(self, array: np.ndarray, capacity: int) -> np.ndarray:
        layers, _, *rest = array.shape
        larger = np.empty((layers, capacity, *rest), array.dtype)
        larger[:, : self.length] = array[:, : self.length]
        return larger


def _split(x: Float[np.ndarray, "T Q"], head_dim: int) -> Float[np.ndarray, "T heads H"]:
    return x.reshape(len(x), -1, head_dim)


def _check_tokens(tokens_T: Integer[np.ndarray, "T"], config: LlamaConfig) -> None:
    if not len(tokens_T):
        raise ValueError("tokens: none given")
    for token in (int(tokens_T.min()), int(tokens_T.max())):
        if not 0 <= token < config.vocab_size:
            raise ValueError(
                f"tokens: {token} is not below the vocabulary size, {config.vocab_size}"
            )
