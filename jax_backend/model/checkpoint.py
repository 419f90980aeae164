"""Loading of a checkpoint onto the devices. Each device gets its own shards, and only their bytes
are read from the files, several parameters at a time.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from jax_backend.model import sharding
from jax_backend.model.attention.base import Attention
from jax_backend.model.llama import Llama, rotation
from jax_backend.model.shards import FUSED, Parameter
from jax_backend.model.transfer import to_devices
from reference.model import checkpoint
from reference.model.config import AUTO, LlamaConfig
from reference.model.stored_tensors import StoredTensor
from reference.model.tensor_names import PROJECTOR, TOWER

ParamPath = tuple[str | int, ...]
Progress = Callable[[str, int, int], None]  # (what is loaded, bytes that are loaded, all bytes)

# Segments of tensor names that the module tree does without or spells differently.
SKIPPED_SEGMENTS = ("model", "self_attn", "mlp", "vision_tower", "embeddings", "encoder")
SKIPPED_SEGMENTS += ("multi_modal_projector",)
RENAMED = {"pre_layrnorm": "pre_layernorm", "weight_packed": "weight"}
NOT_LOADED = ".weight_shape"  # the config determines it

# Modules whose weight is a bare array, in a language model and in a vision tower.
BARE_ARRAYS = {False: ("norm", "embed_tokens", "lm_head"), True: ("embedding",)}

FUSED_INTO = {part: fused for fused, parts in FUSED.items() for part in parts}
PARALLEL = 8  # parameters that are read at a time


def load(
    directory: str | Path,
    dtype: DTypeLike = jnp.float32,
    attention: Attention | None = None,
    context: int | None = None,
    mesh: Mesh | None = None,
    kv_dtype: str = AUTO,
    progress: Progress = lambda name, done, total: None,
) -> Llama:
    """Read a Hugging Face directory as float32 or bfloat16; quantized weights stay quantized.
    attention, mesh: see `Llama`. context: the maximum length of a sequence, by default the model's.
    kv_dtype: of the KV cache (`LlamaConfig.with_kv_dtype`). Raises the errors of
    `reference.model.checkpoint`, and ConfigError for a model that the mesh cannot divide.
    """
    if jnp.dtype(dtype) not in (jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)):
        raise ValueError(f"dtype: must be float32 or bfloat16, got {jnp.dtype(dtype)}")
    stored = checkpoint.read_config(directory, context, kv_dtype)
    config = sharding.sharded_config(stored, sharding.mesh_size(mesh))
    graph, state = nnx.split(Llama(config, jnp.dtype(dtype), attention, mesh))
    leaves = dict(nnx.to_flat_state(state))
    tensors, tp = checkpoint.open_tensors(directory), sharding.mesh_size(mesh)
    parameters = parameters_of(tensors, leaves, stored, tp)
    total, done = sum(parameter.nbytes for parameter in parameters.values()), 0
    with ThreadPoolExecutor(PARALLEL) as pool:
        loading = {pool.submit(put, p, path, mesh): path for path, p in parameters.items()}
        try:
            for future in as_completed(loading):
                path = loading[future]
                leaves[path] = leaves[path].replace(future.result())
                done += parameters[path].nbytes
                progress("weights", done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for path, value in computed_leaves(config).items():
        if path in leaves and path not in parameters:
            leaves[path] = leaves[path].replace(to_devices(value, replicated(mesh)))
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def parameters_of(
    tensors: Mapping[str, StoredTensor],
    leaves: Mapping[ParamPath, nnx.Variable[Any]],
    config: LlamaConfig,
    tp: int,
) -> dict[ParamPath, Parameter]:
    """Return how each parameter of the module tree is read. config: of the checkpoint. tp: the
    degree of tensor parallelism.
    """
    parts: dict[ParamPath, dict[str, StoredTensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if not name.endswith(NOT_LOADED):
            path, part = module_path(name)
            parts[path][part] = tensor
    return {
        path: Parameter.of(path, by_part, leaves[path].get_value(), config, tp)
        for path, by_part in parts.items()
    }


def put(parameter: Parameter, path: ParamPath, mesh: Mesh | None) -> jax.Array:
    """Read a parameter onto the devices, and wait until the host's copy can be released."""
    if mesh is None:
        array = jax.device_put(parameter.read((slice(None),) * len(parameter.shape)))
    else:
        target = sharding.weight_sharding(mesh, path)
        array = jax.make_array_from_callback(parameter.shape, target, parameter.read)
    return array.block_until_ready()


def computed_leaves(config: LlamaConfig) -> dict[ParamPath, np.ndarray]:
    """Return the leaves that a checkpoint need not have."""
    one = np.ones((), np.float32)
    names = "k_scale", "v_scale"
    scales = {("layers", i, name): one for i in range(config.num_hidden_layers) for name in names}
    return {("rotation",): rotation(config), **scales}


def replicated(mesh: Mesh | None) -> Any:
    return None if mesh is None else sharding.replicated(mesh)


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
