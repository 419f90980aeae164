"""Loading of a checkpoint onto the devices, tensor by tensor. The host holds at most the three
tensors of a fused projection at once.
"""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from jax_backend.model import sharding
from jax_backend.model.attention.base import Attention
from jax_backend.model.llama import Llama, rotation
from jax_backend.model.transfer import to_devices
from reference.model import checkpoint
from reference.model.tensor_names import PROJECTOR, TOWER

ParamPath = tuple[str | int, ...]

# Segments of tensor names that the module tree does without or spells differently.
SKIPPED_SEGMENTS = ("model", "self_attn", "mlp", "vision_tower", "embeddings", "encoder")
SKIPPED_SEGMENTS += ("multi_modal_projector",)
RENAMED = {"pre_layrnorm": "pre_layernorm"}

# Modules whose weight is a bare array, in a language model and in a vision tower.
BARE_ARRAYS = {False: ("norm", "embed_tokens", "lm_head"), True: ("embedding",)}

# Projections that `jax_backend.model.llama` fuses, in this order.
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
FUSED_INTO = {part: fused for fused, parts in FUSED.items() for part in parts}


def load(
    directory: str | Path,
    dtype: DTypeLike = jnp.float32,
    attention: Attention | None = None,
    context: int | None = None,
    mesh: Mesh | None = None,
) -> Llama:
    """Read a Hugging Face directory as float32 or bfloat16. attention, mesh: see `Llama`.
    context: the maximum length of a sequence, by default the model's. Raises the errors of
    `reference.model.checkpoint`, and ConfigError for a model that the mesh cannot divide.
    """
    if jnp.dtype(dtype) not in (jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)):
        raise ValueError(f"dtype: must be float32 or bfloat16, got {jnp.dtype(dtype)}")
    stored, tp = checkpoint.read_config(directory, context), sharding.mesh_size(mesh)
    config = sharding.sharded_config(stored, tp)
    graph, state = nnx.split(Llama(config, jnp.dtype(dtype), attention, mesh))
    leaves = dict(nnx.to_flat_state(state))
    repeats = config.num_key_value_heads // stored.num_key_value_heads
    incomplete: dict[ParamPath, dict[str, np.ndarray]] = {}
    for name, tensor in checkpoint.tensors(directory):
        path, part = module_path(name)
        parts = incomplete.setdefault(path, {})
        if part in ("k_proj", "v_proj") and path[0] == "layers":
            tensor = repeat_kv_heads(tensor, stored.head_dim, repeats)
        parts[part] = tensor.astype(dtype)
        expected = FUSED.get(FUSED_INTO.get(part, ""), (part,))
        if len(parts) == len(expected):
            leaves[path] = put(leaves[path], path, [parts[p] for p in expected], mesh)
            del incomplete[path], parts
    leaves["rotation",] = put(leaves["rotation",], ("rotation",), [rotation(config)], mesh)
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def put(
    leaf: nnx.Variable[Any], path: ParamPath, parts: list[np.ndarray], mesh: Mesh | None
) -> nnx.Variable[Any]:
    """Fuse the parts of a parameter and move it to the devices."""
    fused = sharding.interleave_shards(parts, sharding.mesh_size(mesh)) if parts[1:] else parts[0]
    padding = leaf.get_value().shape[0] - len(fused)  # of the vocabulary
    if padding:
        fused = np.pad(fused, [(0, padding), *[(0, 0)] * (fused.ndim - 1)])
    target = None if mesh is None else sharding.weight_sharding(mesh, path)
    return leaf.replace(to_devices(fused, target))


def repeat_kv_heads(tensor: np.ndarray, head_dim: int, times: int) -> np.ndarray:
    """Repeat each head of keys or values for the devices that need it."""
    heads = tensor.reshape(-1, head_dim, *tensor.shape[1:])
    return np.repeat(heads, times, axis=0).reshape(-1, *tensor.shape[1:])


def module_path(name: str) -> tuple[ParamPath, str]:
    """Return the path in the module tree of a tensor of the file, and its part of a fused array.

    model.layers.3.self_attn.k_proj.bias          →  ("layers", 3, "qkv_proj", "bias"), "k_proj"
    vision_tower.encoder.layers.3.mlp.fc1.weight  →  ("vision", "layers", 3, "fc1", "weight"), "fc1"
    """
    is_vision = name.startswith((TOWER, PROJECTOR))
    segments = [RENAMED.get(s, s) for s in name.split(".") if s not in SKIPPED_SEGMENTS]
    part = segments[-2] if len(segments) > 1 else ""
    if part in FUSED_INTO:
        segments[-2] = FUSED_INTO[part]
    elif segments[-1] == "weight" and part.endswith(BARE_ARRAYS[is_vision]):
        segments.pop()
    path = tuple(int(s) if s.isdigit() else s for s in segments)
    return (("vision", *path) if is_vision else path), part
