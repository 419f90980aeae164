"""The model under training: a Llama in functional style over tensors with Hugging Face's names."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

Tensors = dict[str, jax.Array]
UNK, BOS, EOS = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of the model: V vocabulary, D model, F ffn, N heads, K KV heads, H head dim, L layers,
    T context.
    """

    vocab_size: int = 1536
    model: int = 192
    ffn: int = 512
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 32
    layers: int = 4
    context: int = 512
    eps: float = 1e-5
    theta: float = 10000.0


def tensor_shapes(s: Shape) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor. The embedding is also the output head."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (s.vocab_size, s.model),
        "model.norm.weight": (s.model,),
    }
    for i in range(s.layers):
        layer = f"model.layers.{i}."
        shapes |= {
            layer + "input_layernorm.weight": (s.model,),
            layer + "post_attention_layernorm.weight": (s.model,),
            layer + "self_attn.q_proj.weight": (s.heads * s.head_dim, s.model),
            layer + "self_attn.k_proj.weight": (s.kv_heads * s.head_dim, s.model),
            layer + "self_attn.v_proj.weight": (s.kv_heads * s.head_dim, s.model),
            layer + "self_attn.o_proj.weight": (s.model, s.heads * s.head_dim),
            layer + "mlp.gate_proj.weight": (s.ffn, s.model),
            layer + "mlp.up_proj.weight": (s.ffn, s.model),
            layer + "mlp.down_proj.weight": (s.model, s.ffn),
        }
    return shapes


def initial(s: Shape, seed: int) -> Tensors:
    """Return normal weights, with those that write to the residual scaled by 1 / √(2L), and norms
    of 1.
    """
    tensors = {}
    for i, (name, shape) in enumerate(sorted(tensor_shapes(s).items())):
        key = jax.random.fold_in(jax.random.key(seed), i)
        residual = name.endswith(("o_proj.weight", "down_proj.weight"))
        std = 0.05 / (2 * s.layers) ** 0.5 if residual else 0.05
        is_norm = len(shape) == 1
        tensors[name] = jnp.ones(shape) if is_norm else std * jax.random.normal(key, shape)
    return tensors


def rms_norm(x: jax.Array, weight: jax.Array, eps: float) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rotate(x_BTNH: jax.Array, theta: float) -> jax.Array:
    """Apply rotary position embeddings in the half-split layout."""
    length, half = x_BTNH.shape[1], x_BTNH.shape[3] // 2
    angles = jnp.arange(length)[:, None] * theta ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    a, b = jnp.split(x_BTNH, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attention(w: Tensors, layer: str, x_BTD: jax.Array, mask_BTT: jax.Array, s: Shape) -> jax.Array:
    """Attend with a mask. Each KV head is shared by N / K query heads."""

    def heads(name: str) -> jax.Array:
        y = x_BTD @ w[f"{layer}self_attn.{name}_proj.weight"].T
        return y.reshape(*y.shape[:2], -1, s.head_dim)

    q, k, v = rotate(heads("q"), s.theta), rotate(heads("k"), s.theta), heads("v")
    out = jax.nn.dot_product_attention(q, k, v, mask=mask_BTT[:, None])
    return out.reshape(*x_BTD.shape[:2], -1) @ w[f"{layer}self_attn.o_proj.weight"].T


def mlp(w: Tensors, layer: str, x_BTD: jax.Array) -> jax.Array:
    gate, up, down = (w[f"{layer}mlp.{name}_proj.weight"].T for name in ("gate", "up", "down"))
    return (jax.nn.silu(x_BTD @ gate) * (x_BTD @ up)) @ down


def forward(w: Tensors, tokens_BT: jax.Array, s: Shape) -> jax.Array:
    """Compute the logits of the next token, (B, T, V) float32. A document, which begins with BOS,
    does not attend to earlier documents of its row.
    """
    document_BT = jnp.cumsum(tokens_BT == BOS, axis=1)
    same = document_BT[:, :, None] == document_BT[:, None, :]
    mask_BTT = jnp.tril(same)
    return blocks(w, w["model.embed_tokens.weight"][tokens_BT], mask_BTT, s)


def blocks(w: Tensors, x_BTD: jax.Array, mask_BTT: jax.Array, s: Shape) -> jax.Array:
    """Compute the logits from token embeddings, with an attention mask."""
    x = x_BTD
    for i in range(s.layers):
        layer = f"model.layers.{i}."
        y = rms_norm(x, w[layer + "input_layernorm.weight"], s.eps)
        x = x + attention(w, layer, y, mask_BTT, s)
        x = x + mlp(w, layer, rms_norm(x, w[layer + "post_attention_layernorm.weight"], s.eps))
    return rms_norm(x, w["model.norm.weight"], s.eps) @ w["model.embed_tokens.weight"].T


def losses(w: Tensors, tokens_BT: jax.Array, s: Shape) -> jax.Array:
    """Return −log p of each token given those before it, in nats, (B, T − 1)."""
    log_p = jax.nn.log_softmax(forward(w, tokens_BT[:, :-1], s))
    return -jnp.take_along_axis(log_p, tokens_BT[:, 1:, None], axis=-1)[..., 0]
