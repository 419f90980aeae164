"""The parts of a decoder layer, and a whole one."""

from dataclasses import replace
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.tolerance import assert_close, assert_equal, assert_near
from conformance.parity.harness.twins import Twins, apply, empty_pages, twins
from jax_backend.model import llama, products
from reference.model import llama as spec
from reference.model.config import LlamaConfig
from reference.model.rope_config import RopeConfig

T, D, H = 5, 12, 6
Example = dict[str, Any]

# Models of one layer: grouped heads with biases, and a single KV head with a window.
KINDS: dict[str, dict[str, Any]] = {
    "biases": {"attention_bias": True, "mlp_bias": True},
    "window": {
        "architectures": ["MistralForCausalLM"],
        "num_key_value_heads": 1,
        "sliding_window": 3,
    },
}


def of_kind(kind: str, seed: int) -> Twins:
    """Return twins of one layer, with a vocabulary of T tokens whose embeddings are its input."""
    return twins(seed, {"num_hidden_layers": 1, "vocab_size": T} | KINDS[kind])


def rms_norm(example: Example, coverage: Coverage) -> None:
    """RMS norm divides a row by its root mean square."""
    x, weight, eps = example["x"] * example["size"], example["weight"], example["eps"]
    actual = compiled(llama.rms_norm, 2)(x, weight, eps)
    assert_close(
        actual, spec.rms_norm(x, weight, eps), size=1e-20
    )  # smaller values may be flushed to 0 when squared


def rotation(fields: Example, coverage: Coverage) -> None:
    """Rotary cosines and sines are bitwise identical to the reference's, for each kind of rope."""
    config = LlamaConfig(
        vocab_size=1,
        hidden_size=1,
        intermediate_size=1,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=fields["head_dim"],
        max_position_embeddings=fields["positions"],
        rope=RopeConfig(**fields["rope"]),
    )
    actual = np.moveaxis(llama.rotation(config), 1, 0)
    frequencies = spec.rope_frequencies(config)
    assert_equal(actual, spec.rotation(frequencies, 0, fields["positions"], np.float32))


def rotate(example: Example, coverage: Coverage) -> None:
    """Each pair of a head is rotated by its angle."""
    x_TNH = example["x"].reshape(T, -1, H)
    frequencies = spec.rope_frequencies(of_kind("biases", 0).config)
    cos, sin = spec.rotation(frequencies, example["start"], T, np.float32)
    actual = compiled(llama.rotate)(x_TNH[None], cos[None], sin[None])[0]
    assert_close(actual, spec.rotate(x_TNH, cos, sin), size=np.abs(x_TNH).max())


def linear_product(example: Example, coverage: Coverage) -> None:
    """The product x Wᵀ is right for one row and for several, and with every column block."""
    x, w = example["x"], example["w"]
    exact = x.astype(np.float64) @ w.T
    for count, block in product((1, 2, T), (products.ROWS, 2, T)):
        actual = compiled(products.product, 2)(x[:count], w, block)
        assert_close(actual, exact[:count], size=(np.abs(x[:count]) @ np.abs(w).T))


def mlp(example: Example, coverage: Coverage) -> None:
    """The feed-forward part is right, with biases and without."""
    pair = of_kind(example["kind"], example["seed"])
    actual = apply(feed_forward, pair.model.layers[0], example["x"])
    assert_near(actual, spec.mlp(example["x"], pair.weights.layers[0]))


def feed_forward(layer: llama.Layer, x_TD: jax.Array) -> jax.Array:
    return llama.mlp(x_TD, layer)


def layer(example: Example, coverage: Coverage) -> None:
    """A whole decoder layer is right: norms, attention, feed-forward and residuals."""
    pair, x = of_kind(example["kind"], example["seed"]), example["x"]
    actual = apply(run_layer, pair.model, x, *empty_pages(pair.model, 1))
    weights = replace(pair.weights, embedding=x)
    assert_near(actual, spec.hidden_states(weights, pair.config, np.arange(T)))


def run_layer(model: llama.Llama, x_TD: jax.Array, layers: Any, page_table: jax.Array) -> jax.Array:
    """Return the output of the layer and the last norm for T rows, (T, D)."""
    model.embed_tokens[...] = x_TD
    row = jnp.arange(T, dtype=jnp.int32)[None]
    block = llama.TokenBlocks(row, row, jnp.ones_like(row, jnp.bool_), page_table)
    (out,), _ = model.hidden_states([block], layers)
    return out[0]


VALUES = st.floats(-4, 4, width=32, allow_subnormal=False)
WEIGHTS = {"kind": st.sampled_from(list(KINDS)), "seed": st.integers(0, 3)}
ROPES = st.one_of(
    st.fixed_dictionaries({}, optional={"theta": st.floats(10, 1e6)}),
    st.fixed_dictionaries({"kind": st.just("linear"), "factor": st.floats(1, 16)}),
    st.fixed_dictionaries(
        {
            "kind": st.just("llama3"),
            "theta": st.floats(10, 1e6),
            "factor": st.floats(1, 16),
            "low_freq_factor": st.floats(0.5, 2),
            "high_freq_factor": st.floats(2.5, 8),
            "original_max_position_embeddings": st.integers(8, 8192),
        }
    ),
)


def rows(count: int, width: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, (count, width), elements=VALUES)


def examples(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Example]:
    return st.fixed_dictionaries(fields)


PROPERTIES = (
    Property(
        "layer/rms_norm",
        examples(
            x=rows(T, D),
            weight=hnp.arrays(np.float32, D, elements=VALUES),
            eps=st.sampled_from([1e-6, 1e-5]),
            size=st.sampled_from([1.0, 1e-3]),
        ),
        rms_norm,
    ),
    Property(
        "layer/rotation",
        examples(
            head_dim=st.integers(1, 64).map(lambda pairs: 2 * pairs),
            positions=st.integers(1, 3000),
            rope=ROPES,
        ),
        rotation,
    ),
    Property("layer/rotate", examples(x=rows(T, 2 * H), start=st.integers(0, 4000)), rotate),
    Property("layer/product", examples(x=rows(T, 7), w=rows(11, 7)), linear_product),
    Property("layer/mlp", examples(x=rows(T, D), **WEIGHTS), mlp),
    Property("layer/whole", examples(x=rows(T, D), **WEIGHTS), layer),
)
