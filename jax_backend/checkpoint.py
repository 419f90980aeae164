"""A checkpoint, tensor by tensor onto the device. The host holds what is put together there: three
tensors of a layer at most.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jax_backend.attention import Attention
from jax_backend.llama import Llama, rotation
from reference import checkpoint
from reference.names import PROJECTOR, TOWER

Place = tuple[str | int, ...]

# Words of a file's names that the modules do without, or spell otherwise.
FOLDERS = ("model", "self_attn", "mlp", "vision_tower", "embeddings", "encoder")
FOLDERS += ("multi_modal_projector",)
RENAMED = {"pre_layrnorm": "pre_layernorm"}

# Parts that are one array, in a language model and in what sees.
ALONE = {False: ("norm", "embed_tokens", "lm_head"), True: ("embedding",)}

# The layers that `jax_backend.llama` makes of several of the file's, in this order.
JOINED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
JOINED_IN = {part: whole for whole, parts in JOINED.items() for part in parts}


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

    def put(place: Place, parts: list[np.ndarray]) -> None:
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        leaves[place] = leaves[place].replace(jax.device_put(whole))

    waiting: dict[Place, dict[str, np.ndarray]] = {}
    for name, tensor in checkpoint.tensors(directory):
        place, part = where(name)
        parts = waiting.setdefault(place, {})
        parts[part] = tensor.astype(dtype)
        wanted = JOINED.get(JOINED_IN.get(part, ""), (part,))
        if len(parts) == len(wanted):
            put(place, [parts[p] for p in wanted])
            del waiting[place], parts
    put(("rotation",), [rotation(model.config)])
    return nnx.merge(graph, nnx.from_flat_state(leaves))


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
