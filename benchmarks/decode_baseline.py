"""A hand-written JAX decode loop: the baseline that the engine is compared with.

One batch of a fixed size that starts and ends together, greedy, a contiguous KV cache, unrolled
layers, weights in the layout of the checkpoints, (out, in). No pages, no sampling, no requests. The
loop only enqueues steps.
"""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reference.model.config import LlamaConfig

Weights = dict[str, Any]


@partial(jax.jit, static_argnums=0, donate_argnums=4)
def run(config: LlamaConfig, weights: Weights, token: Any, position: Any, caches: Any) -> Any:
    return step(config, weights, token, position, caches)


def loop(config: LlamaConfig, weights: Weights, streams: int, steps: int, start: int) -> float:
    """Return the seconds per step of `streams` sequences, from position `start` on."""
    shape = (streams, config.num_key_value_heads, start + steps + 1, config.head_dim)
    caches = [(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(config.num_hidden_layers)]
    token = jnp.arange(streams, dtype=jnp.int32)
    token, caches = run(config, weights, token, jnp.int32(start), caches)
    token.block_until_ready()
    begin = time.perf_counter()
    for i in range(1, steps):
        token, caches = run(config, weights, token, jnp.int32(start + i), caches)
    token.block_until_ready()
    return (time.perf_counter() - begin) / (steps - 1)


def step(
    config: LlamaConfig, weights: Weights, token: jax.Array, position: jax.Array, caches: list[Any]
) -> tuple[jax.Array, list[Any]]:
    """Return the next token of each sequence, and the updated caches."""
    B, H = len(token), config.head_dim
    x = weights["embed_tokens"][token]
    frequency = config.rope.theta ** (-np.arange(0, H, 2, dtype=np.float32) / H)
    cos, sin = jnp.cos(position * frequency), jnp.sin(position * frequency)

    def rotate(x: jax.Array) -> jax.Array:
        a, b = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    written = []
    for layer, (k_cache, v_cache) in zip(weights["layers"], caches, strict=True):
        y = norm(x, layer["input_layernorm"], config)
        q = rotate(product(y, layer["q_proj"]).reshape(B, -1, H))
        k = rotate(product(y, layer["k_proj"]).reshape(B, -1, H))
        v = product(y, layer["v_proj"]).reshape(B, -1, H)
        k_cache = jax.lax.dynamic_update_slice_in_dim(k_cache, k[:, :, None], position, axis=2)
        v_cache = jax.lax.dynamic_update_slice_in_dim(v_cache, v[:, :, None], position, axis=2)
        written.append((k_cache, v_cache))
        q = q.reshape(B, k.shape[1], -1, H)
        scores = jnp.einsum("bkgh,bksh->bkgs", q, k_cache) * H**-0.5
        causal = jnp.arange(k_cache.shape[2]) <= position
        attended = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
        out = jnp.einsum("bkgs,bksh->bkgh", attended, v_cache).reshape(B, -1)
        x = x + product(out, layer["o_proj"])
        y = norm(x, layer["post_attention_layernorm"], config)
        gated = jax.nn.silu(product(y, layer["gate_proj"])) * product(y, layer["up_proj"])
        x = x + product(gated, layer["down_proj"])
    logits = product(norm(x, weights["norm"], config), weights["lm_head"])
    return jnp.argmax(logits, axis=-1).astype(jnp.int32), written


def norm(x: jax.Array, weight: jax.Array, config: LlamaConfig) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + config.rms_norm_eps) * weight


def product(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Multiply, in the formulation that is fastest on a CPU for one row and for several."""
    if len(x) == 1:
        return jax.lax.dot_general(x, weight, (((1,), (1,)), ((), ())))
    columns = jax.lax.optimization_barrier(x.T)
    return jax.lax.optimization_barrier(weight @ columns).T
