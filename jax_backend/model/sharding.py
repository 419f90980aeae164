"""Tensor parallelism: which axis of a weight is divided along which axis of the device mesh.

Each device has some heads, a part of the hidden units of the feed-forward layers and a part of the
vocabulary (Shoeybi et al., "Megatron-LM", 2019). The KV cache of a head is on the device of the
head. There are two all-reduces per layer, where it adds to the residual, and one all-gather of the
logits per step. Only norms and the embeddings of a vision tower are replicated.

If there are fewer KV heads than devices, each is repeated on neighboring devices.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_backend.model.attention.base import Attention, Pages
from jax_backend.platform import platform
from reference.model.config import LlamaConfig
from reference.model.config_fields import ConfigError

logger = logging.getLogger(__name__)

Product = Callable[[Array, Array], Array]

TP = "tp"

# Logical axis → axis of the mesh.
LOGICAL_TO_MESH = {"heads": TP, "ffn": TP, "vocab": TP, "hidden": None}

# The logical axes of a weight, (out, in); biases and weight scales have the first of them.
OUTPUTS_ONLY = ("bias", "weight_scale")
PARAM_AXES = {
    "embed_tokens": ("vocab", "hidden"),
    "lm_head": ("vocab", "hidden"),
    "qkv_proj": ("heads", "hidden"),
    "o_proj": ("hidden", "heads"),
    "out_proj": ("hidden", "heads"),
    "gate_up_proj": ("ffn", "hidden"),
    "down_proj": ("hidden", "ffn"),
    "fc1": ("ffn", "hidden"),
    "fc2": ("hidden", "ffn"),
    "linear_1": ("ffn", "hidden"),
    "linear_2": ("hidden", "ffn"),
}


def make_mesh(tp: int, devices: Sequence[jax.Device] | None = None) -> Mesh | None:
    """Return a mesh of `tp` devices, None for one. Neighbors in the mesh are neighbors in the
    network of the devices, as far as JAX knows it. Raises ValueError if there are fewer devices.
    """
    available = list(jax.devices() if devices is None else devices)
    if not 1 <= tp <= len(available):
        raise ValueError(f"mesh: tp must be from 1 to the {len(available)} devices, got tp={tp}")
    if tp == 1:
        return None
    axes = {"axis_names": (TP,), "axis_types": (AxisType.Auto,)}
    try:
        return jax.make_mesh((tp,), devices=available[:tp], **axes)
    except (AssertionError, NotImplementedError):  # JAX orders a cuboid of a torus only
        logger.warning("the first %d devices do not form a cuboid, so JAX's order is used", tp)
        return Mesh(np.array(available[:tp]), **axes)


def mesh_size(mesh: Mesh | None) -> int:
    """Return the number of devices, 1 without a mesh."""
    return 1 if mesh is None else mesh.shape[TP]


def ordered_mesh(mesh: Mesh | None) -> Mesh | None:
    """Return the mesh if its all-reduces add in no fixed order: on CPUs of several processes, where
    the order depends on the place in the array.
    """
    if mesh is None or platform() != "cpu":
        return None
    is_local = all(device.process_index == jax.process_index() for device in mesh.devices.flat)
    return None if is_local else mesh


def product_in_order(multiply: Product, x_TI: Array, w_OI: Array, mesh: Mesh) -> Array:
    """Multiply by a weight that is divided along its inputs, and add the parts in the order of the
    devices. multiply: of a part.
    """

    def of_device(x: Array, w: Array) -> Array:
        parts = jax.lax.all_gather(multiply(x, w), TP)
        return reduce(jnp.add, [parts[i] for i in range(mesh_size(mesh))])

    by_input = P(None, TP)
    return jax.shard_map(
        of_device, mesh=mesh, in_specs=(by_input, by_input), out_specs=P(), check_vma=False
    )(x_TI, w_OI)


def replicated(mesh: Mesh) -> NamedSharding:
    """Sharding of an array that is the same on every device."""
    return NamedSharding(mesh, P())


def all_gather_logits(logits: Array, mesh: Mesh) -> Array:
    """Gather the logits of all parts of the vocabulary on every device. The explicit constraint
    keeps the compiler from gathering the weights instead.
    """
    parts = jax.lax.with_sharding_constraint(logits, NamedSharding(mesh, P(None, TP)))
    return jax.lax.with_sharding_constraint(parts, replicated(mesh))


def mesh_axes(path: Sequence[str | int]) -> list[str | None]:
    """Return the axis of the mesh along which each axis of a parameter is divided; the last may be
    absent. path: its names in the module tree.
    """
    axes = next((PARAM_AXES[str(name)] for name in path if name in PARAM_AXES), ())
    if path[-1] in OUTPUTS_ONLY:
        axes = axes[:1]
    elif path[-1] == "input_scale":
        axes = ()
    return [LOGICAL_TO_MESH[axis] for axis in axes]


def weight_sharding(mesh: Mesh, path: Sequence[str | int]) -> NamedSharding:
    """Return the sharding of a parameter."""
    return NamedSharding(mesh, P(*mesh_axes(path)))


def sharded_config(config: LlamaConfig, tp: int) -> LlamaConfig:
    """Return the config for `tp` devices: KV heads are repeated up to one per device. Raises
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
            raise ConfigError(f"{name}: must be a multiple of mesh: tp={tp}, got {value}")
    if K % tp and tp % K:
        raise ConfigError(
            f"num_key_value_heads: must divide or be a multiple of mesh: tp={tp}, got {K}"
        )
    return replace(config, num_key_value_heads=max(K, tp))


def padded_vocab_size(config: LlamaConfig, tp: int) -> int:
    """Return V rounded up to a multiple of `tp`. The additional rows are padding."""
    return -(-config.vocab_size // tp) * tp


def shard_attention(attention: Attention, mesh: Mesh | None) -> Attention:
    """Run an attention on every device over its own heads. It needs no communication."""
    if mesh is None:
        return attention
    tp, pages = mesh_size(mesh), P(*[None] * attention.heads_axis, TP)
    heads, unsharded = P(None, None, TP), P()

    def empty(config: LlamaConfig, count: int, page_size: int, dtype: Any) -> Pages:
        device_config = replace(
            config,
            num_attention_heads=config.num_attention_heads // tp,
            num_key_value_heads=config.num_key_value_heads // tp,
        )
        allocate = jax.shard_map(
            lambda: attention.empty(device_config, count, page_size, dtype),
            mesh=mesh,
            in_specs=(),
            out_specs=pages,
            check_vma=False,
        )
        return jax.jit(allocate)()

    write = jax.shard_map(
        attention.write,
        mesh=mesh,
        in_specs=(pages, heads, heads, unsharded, unsharded, unsharded),
        out_specs=pages,
        check_vma=False,
    )

    def attend(q: Any, layer: Pages, page_tables: Any, positions: Any, window: int | None) -> Any:
        return jax.shard_map(
            lambda *arrays: attention.attend(*arrays, window),
            mesh=mesh,
            in_specs=(heads, pages, unsharded, unsharded),
            out_specs=heads,
            check_vma=False,
        )(q, layer, page_tables, positions)

    return replace(attention, empty=empty, write=write, attend=attend)
