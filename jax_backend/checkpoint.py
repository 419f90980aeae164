"""A checkpoint, tensor by tensor onto the device. The host holds one tensor at a time."""

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from jax_backend.attention import Attention
from jax_backend.llama import Llama, rotation
from reference import checkpoint


def load(
    directory: str | Path,
    dtype: DTypeLike = jnp.float32,
    attention: Attention | None = None,
    context: int | None = None,
) -> Llama:
    """Read a Hugging Face directory as float32 or bfloat16. attention: see `Llama`. context: the
    most tokens of a text, if not what the model has stored. Raises what `reference.checkpoint`
    does.
    """
    if jnp.dtype(dtype) not in (jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)):
        raise ValueError(f"dtype: {jnp.dtype(dtype)} is neither float32 nor bfloat16")
    model = Llama(checkpoint.read_config(directory, context), jnp.dtype(dtype), attention)
    graph, state = nnx.split(model)
    leaves = dict(nnx.to_flat_state(state))
    for name, tensor in checkpoint.tensors(directory):
        leaf = leaves[path(name)]
        leaves[path(name)] = leaf.replace(jax.device_put(tensor.astype(dtype)))
    turns = ("rotation",)
    leaves[turns] = leaves[turns].replace(jax.device_put(rotation(model.config)))
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def path(name: str) -> tuple[str | int, ...]:
    """Where a tensor of the file stands in the module."""
    parts = [part for part in name.split(".") if part not in ("model", "self_attn", "mlp")]
    if not parts[-2].endswith("_proj"):
        parts.pop()  # the weight is all there is
    return tuple(int(part) if part.isdigit() else part for part in parts)
