"""A checkpoint, tensor by tensor onto the device. The host holds what is put together there: three
tensors of a layer at most.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from jax_backend.model import sharding
from jax_backend.model.attention.cpu import Attention
from jax_backend.model.llama import Llama, rotation
from reference.model import checkpoint
from reference.model.tensor_names import PROJECTOR, TOWER

Place = tuple[str | int, ...]

# Words of a file's names that the modules do without, or spell otherwise.
FOLDERS = ("model", "self_attn", "mlp", "vision_tower", "embeddings", "encoder")
FOLDERS += ("multi_modal_projector",)
RENAMED = {"pre_layrnorm": "pre_layernorm"}

# Parts that are one array, in a language model and in what sees.
ALONE = {False: ("norm", "embed_tokens", "lm_head"), True: ("embedding",)}

# The layers that `jax_backend.model.llama` makes of several of the file's, in this order.
JOINED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
JOINED_IN = {part: whole for whole, parts in JOINED.items() for part in parts}


def load(
    directory: str | Path,
    dtype: DTypeLike = jnp.float32,
    attention: Attention | None = None,
    context: int | None = None,
    mesh: Mesh | None = None,
) -> Llama:
    """Read a Hugging Face directory as float32 or bfloat16. attention, mesh: see `Llama`. context:
    the most tokens of a text, if not what the model has stored. Raises what
    `reference.model.checkpoint` does, and ConfigError for a model that the devices of the mesh
    cannot share.
    """
    if jnp.dtype(dtype) not in (jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)):
        raise ValueError(f"dtype: {jnp.dtype(dtype)} is neither float32 nor bfloat16")
    stored, tp = checkpoint.read_config(directory, context), sharding.size(mesh)
    config = sharding.fitted(stored, tp)
    model = Llama(config, jnp.dtype(dtype), attention, mesh)
    graph, state = nnx.split(model)
    leaves = dict(nnx.to_flat_state(state))

    def put(place: Place, parts: list[np.ndarray]) -> None:
        whole = sharding.joined(parts, tp) if len(parts) > 1 else parts[0]
        missing = leaves[place].get_value().shape[0] - len(whole)  # of a vocabulary
        if missing:
            whole = np.pad(whole, [(0, missing), *[(0, 0)] * (whole.ndim - 1)])
        target = None if mesh is None else sharding.of_weight(mesh, place)
        leaves[place] = leaves[place].replace(jax.device_put(whole, target))

    waiting: dict[Place, dict[str, np.ndarray]] = {}
    for name, tensor in checkpoint.tensors(directory):
        place, part = where(name)
        parts = waiting.setdefault(place, {})
        more = config.num_key_value_heads // stored.num_key_value_heads
        if part in ("k_proj", "v_proj") and place[0] == "layers":
            tensor = repeated(tensor, stored.head_dim, more)
        parts[part] = tensor.astype(dtype)
        wanted = JOINED.get(JOINED_IN.get(part, ""), (part,))
        if len(parts) == len(wanted):
            put(place, [parts[p] for p in wanted])
            del waiting[place], parts
    put(("rotation",), [rotation(model.config)])
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def repeated(tensor: np.ndarray, head_dim: int, times: int) -> np.ndarray:
    """Heads of keys or values, each as often as there are devices that need it."""
    heads = tensor.reshape(-1, head_dim, *tensor.shape[1:])
    return np.repeat(heads, times, axis=0).reshape(-1, *tensor.shape[1:])


def where(name: str) -> tuple[Place, str]:
    """Where a tensor of the file stands in the module, and which part it is of what stands there.

    model.layers.3.self_attn.k_proj.bias          →  ("layers", 3, "qkv_proj", "bias"), "k_proj"
    vision_tower.encoder.layers.3.mlp.fc1.weight  →  ("vision", "layers", 3, "fc1", "weight"), "fc1"
    """
    sees = name.startswith((TOWER, PROJECTOR))
    words = [RENAMED.get(word, word) for word in name.split(".") if word not in FOLDERS]
    part = words[-2] if len(words) > 1 else ""
    if part in JOINED_IN:
        words[-2] = JOINED_IN[part]
    elif words[-1] == "weight" and part.endswith(ALONE[sees]):
        words.pop()  # the weight is all there is
    place = tuple(int(word) if word.isdigit() else word for word in words)
    return (("vision", *place) if sees else place), part
