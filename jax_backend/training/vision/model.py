"""The model under training: a CLIP tower and a LLaVA projector in functional style, in front of the
Llama of `training.text.model`, over tensors with Hugging Face's names.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from jax_backend.training.text.model import Shape, Tensors, blocks
from jax_backend.training.text.model import tensor_shapes as text_shapes

TOWER, PROJECTOR = "vision_tower.", "multi_modal_projector."


@dataclass(frozen=True, kw_only=True)
class VisionShape:
    """Sizes of the model. image, patch: sides in pixels. width, ffn: C and G of the tower."""

    text: Shape = field(default_factory=lambda: Shape(vocab_size=1600))
    image_token: int = 1536
    image: int = 56
    patch: int = 8
    width: int = 128
    ffn: int = 512
    heads: int = 4
    layers: int = 4
    eps: float = 1e-5

    @property
    def image_tokens(self) -> int:
        """Number of tokens of an image, one per patch."""
        return (self.image // self.patch) ** 2


def tensor_shapes(s: VisionShape) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor, the language model's under the names of its own file."""
    shapes = text_shapes(s.text) | {
        f"{TOWER}embeddings.class_embedding": (s.width,),
        f"{TOWER}embeddings.patch_embedding.weight": (s.width, 3, s.patch, s.patch),
        f"{TOWER}embeddings.position_embedding.weight": (s.image_tokens + 1, s.width),
    }

    def affine(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}

    shapes |= affine(f"{TOWER}pre_layrnorm", s.width)
    shapes |= affine(f"{TOWER}post_layernorm", s.width)  # in the files of CLIP, but unused
    for layer in (f"{TOWER}encoder.layers.{i}" for i in range(s.layers)):
        for norm in "layer_norm1", "layer_norm2":
            shapes |= affine(f"{layer}.{norm}", s.width)
        for projection in "q_proj", "k_proj", "v_proj", "out_proj":
            shapes |= affine(f"{layer}.self_attn.{projection}", s.width, s.width)
        shapes |= affine(f"{layer}.mlp.fc1", s.ffn, s.width)
        shapes |= affine(f"{layer}.mlp.fc2", s.width, s.ffn)
    shapes |= affine(f"{PROJECTOR}linear_1", s.text.model, s.width)
    shapes |= affine(f"{PROJECTOR}linear_2", s.text.model, s.text.model)
    return shapes


def initial(s: VisionShape, seed: int, text: Tensors) -> Tensors:
    """Return initial weights: the trained language model, with zeros for new tokens, and a random
    vision tower and projector.
    """
    tensors: Tensors = {}
    for i, (name, shape) in enumerate(sorted(tensor_shapes(s).items())):
        key = jax.random.fold_in(jax.random.key(seed), i)
        if name in text:
            missing = shape[0] - text[name].shape[0]
            tensors[name] = jnp.pad(text[name], [(0, missing)] + [(0, 0)] * (len(shape) - 1))
        elif len(shape) == 1 and "class_embedding" not in name:
            tensors[name] = jnp.ones(shape) if name.endswith("weight") else jnp.zeros(shape)
        else:
            residual = name.endswith(("out_proj.weight", "fc2.weight"))
            std = 0.05 / (2 * s.layers) ** 0.5 if residual else 0.05
            tensors[name] = std * jax.random.normal(key, shape)
    return tensors


def affine(w: Tensors, name: str, x: jax.Array) -> jax.Array:
    """Apply a linear layer with bias."""
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(w: Tensors, name: str, x: jax.Array, eps: float) -> jax.Array:
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.mean(centered * centered, axis=-1, keepdims=True)
    return centered * jax.lax.rsqrt(variance + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def attention(w: Tensors, name: str, x_BPC: jax.Array, heads: int) -> jax.Array:
    def split(part: str) -> jax.Array:
        y = affine(w, f"{name}.{part}_proj", x_BPC)
        return y.reshape(*y.shape[:2], heads, -1)

    out = jax.nn.dot_product_attention(split("q"), split("k"), split("v"))
    return affine(w, f"{name}.out_proj", out.reshape(x_BPC.shape))


def features(w: Tensors, pixels_B3SS: jax.Array, s: VisionShape) -> jax.Array:
    """Compute the embeddings of each image, (B, image tokens, D), from all positions of the tower's
    last layer except the class token.
    """
    B, side = len(pixels_B3SS), s.image // s.patch
    patches = pixels_B3SS.reshape(B, 3, side, s.patch, side, s.patch)
    patches = patches.transpose(0, 2, 4, 1, 3, 5).reshape(B, s.image_tokens, -1)
    kernel = w[f"{TOWER}embeddings.patch_embedding.weight"].reshape(s.width, -1)
    class_token = jnp.broadcast_to(w[f"{TOWER}embeddings.class_embedding"], (B, 1, s.width))
    x = jnp.concatenate([class_token, patches @ kernel.T], axis=1)
    x = x + w[f"{TOWER}embeddings.position_embedding.weight"]
    x = layer_norm(w, f"{TOWER}pre_layrnorm", x, s.eps)
    for layer in (f"{TOWER}encoder.layers.{i}" for i in range(s.layers)):
        y = layer_norm(w, f"{layer}.layer_norm1", x, s.eps)
        x = x + attention(w, f"{layer}.self_attn", y, s.heads)
        y = affine(w, f"{layer}.mlp.fc1", layer_norm(w, f"{layer}.layer_norm2", x, s.eps))
        x = x + affine(w, f"{layer}.mlp.fc2", y * jax.nn.sigmoid(1.702 * y))
    y = jax.nn.gelu(affine(w, f"{PROJECTOR}linear_1", x[:, 1:]), approximate=False)
    return affine(w, f"{PROJECTOR}linear_2", y)


def losses(
    w: Tensors, pixels_B3SS: jax.Array, tokens_BT: jax.Array, answer_BT: jax.Array, s: VisionShape
) -> jax.Array:
    """Return −log p of each token of an answer, in nats, and 0 for the others, (B, T − 2). The
    second token of each text is the image placeholder.
    """
    image_embeddings = features(w, pixels_B3SS, s)
    x = w["model.embed_tokens.weight"][tokens_BT[:, :-1]]
    x = jnp.concatenate([x[:, :1], image_embeddings, x[:, 2:]], axis=1)
    mask = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), jnp.bool_))[None]
    logits = blocks(w, x, mask, s.text)[:, s.image_tokens :]
    log_p = jax.nn.log_softmax(logits)
    targets = tokens_BT[:, 2:]
    target_log_p = jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return -target_log_p * answer_BT[:, 2:]
