"""A model over several devices: which axis of a weight lies along which axis of the mesh.

Tensor parallelism (Shoeybi et al., "Megatron-LM", 2019): each device has some heads, a part of the
hidden layers and a part of the vocabulary, and an attention's cache is where its heads are. What a
layer adds to the residual is summed over the devices, twice a layer; logits are gathered once a
step. Nothing but norms and a vision tower's embeddings is on every device.

Heads of keys that are fewer than the devices are there more than once, on neighbours.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_backend.model.attention.cpu import Attention, Pages
from reference.model.config import LlamaConfig
from reference.model.config_fields import ConfigError

TP = "tp"

# Logical axis → axis of the mesh.
TABLE = {"heads": TP, "ffn": TP, "vocab": TP, "width": None}

# The logical axes of a weight, (out, in); a bias has the first of them.
AXES = {
    "embed_tokens": ("vocab", "width"),
    "lm_head": ("vocab", "width"),
    "qkv_proj": ("heads", "width"),
    "o_proj": ("width", "heads"),
    "out_proj": ("width", "heads"),
    "gate_up_proj": ("ffn", "width"),
    "down_proj": ("width", "ffn"),
    "fc1": ("ffn", "width"),
    "fc2": ("width", "ffn"),
    "linear_1": ("ffn", "width"),
    "linear_2": ("width", "ffn"),
}


def mesh_of(tp: int, devices: Sequence[jax.Device] | None = None) -> Mesh | None:
    """`tp` devices in a row; None for one. Raises ValueError if there are not so many."""
    found = list(jax.devices() if devices is None else devices)
    if not 1 <= tp <= len(found):
        raise ValueError(f"mesh: tp={tp}, and there are {len(found)} devices")
    if tp == 1:
        return None
    return Mesh(np.array(found[:tp]), (TP,), axis_types=(AxisType.Auto,))


def size(mesh: Mesh | None) -> int:
    return 1 if mesh is None else mesh.shape[TP]


def everywhere(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, P())


def gathered(logits: Array, mesh: Mesh) -> Array:
    """Logits on every device, from those that have computed a part of the vocabulary each: else the
    compiler might gather the weights.
    """
    parts = jax.lax.with_sharding_constraint(logits, NamedSharding(mesh, P(None, TP)))
    return jax.lax.with_sharding_constraint(parts, everywhere(mesh))


def of_weight(mesh: Mesh, place: Sequence[str | int]) -> NamedSharding:
    """Where a weight lies. place: its names in the model."""
    axes = next((AXES[str(name)] for name in place if name in AXES), ())
    kept = axes[:1] if place[-1] == "bias" else axes
    return NamedSharding(mesh, P(*(TABLE[axis] for axis in kept)))


def fitted(config: LlamaConfig, tp: int) -> LlamaConfig:
    """The model as `tp` devices hold it: with a head of keys, at least, for each. Raises
    ConfigError, naming the field that `tp` does not divide.
    """
    heads, K = config.num_attention_heads, config.num_key_value_heads
    sizes = {"num_attention_heads": heads, "intermediate_size": config.intermediate_size}
    if config.vision is not None:
        sizes |= {
            "vision_config.num_attention_heads": config.vision.num_attention_heads,
            "vision_config.intermediate_size": config.vision.intermediate_size,
            "hidden_size": config.hidden_size,
        }
    for name, value in sizes.items():
        if value % tp:
            raise ConfigError(f"{name}: {value} is not a multiple of mesh: tp={tp}")
    if K % tp and tp % K:
        raise ConfigError(f"num_key_value_heads: {K} and mesh: tp={tp} do not divide each other")
    return replace(config, num_key_value_heads=max(K, tp))


def rows_of_vocabulary(config: LlamaConfig, tp: int) -> int:
    """V, made up to a multiple of `tp` with rows that nobody reads."""
    return -(-config.vocab_size // tp) * tp


def joined(parts: Sequence[np.ndarray], tp: int) -> np.ndarray:
    """Matrices with one input as one, part below part, for each device by itself."""
    if tp == 1:
        return np.concatenate(parts) if len(parts) > 1 else parts[0]
    cut = [np.split(part, tp) for part in parts]
    return np.concatenate([piece for pieces in zip(*cut, strict=True) for piece in pieces])


def over_heads(attention: Attention, mesh: Mesh | None) -> Attention:
    """The same attention, each device with its own heads: none needs to know of the others."""
    if mesh is None:
        return attention
    tp, pages = size(mesh), P(*[None] * attention.heads, TP)
    heads, nowhere = P(None, None, TP), P()

    def empty(config: LlamaConfig, count: int, page_size: int, dtype: Any) -> Pages:
        own = replace(
            config,
            num_attention_heads=config.num_attention_heads // tp,
            num_key_value_heads=config.num_key_value_heads // tp,
        )
        made = jax.shard_map(
            lambda: attention.empty(own, count, page_size, dtype),
            mesh=mesh,
            in_specs=(),
            out_specs=pages,
            check_vma=False,
        )
        return jax.jit(made)()

    write = jax.shard_map(
        attention.write,
        mesh=mesh,
        in_specs=(pages, heads, heads, nowhere, nowhere, nowhere),
        out_specs=pages,
        check_vma=False,
    )

    def attend(q: Any, layer: Pages, tables: Any, positions: Any, window: int | None) -> Any:
        return jax.shard_map(
            lambda *arrays: attention.attend(*arrays, window),
            mesh=mesh,
            in_specs=(heads, pages, nowhere, nowhere),
            out_specs=heads,
            check_vma=False,
        )(q, layer, tables, positions)

    return Attention(empty, write, attend, attention.heads)
