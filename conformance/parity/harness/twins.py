"""Small models with random weights, as the reference has them and as the JAX backend does."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from jax_backend.model import checkpoint as on_device
from jax_backend.model.llama import Llama
from jax_backend.serving import step
from reference.model import checkpoint
from reference.model.config import LlamaConfig
from reference.model.weights import Weights, expected_tensors

PAGE = 16  # positions

SMALL = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 37,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 64,
}


@dataclass(frozen=True)
class Twins:
    """The same weights, twice."""

    config: LlamaConfig
    weights: Weights
    model: Llama


SEEING = {
    "architectures": ["LlavaForConditionalGeneration"],
    "text_config": SMALL,
    "image_token_index": 36,
}


def twins(
    seed: int, fields: Mapping[str, Any], small: Mapping[str, Any] = MappingProxyType(SMALL)
) -> Twins:
    """fields: of a config.json, besides those of a small model."""
    return _twins(seed, json.dumps(dict(small) | dict(fields)))


@cache
def _twins(seed: int, config_json: str) -> Twins:
    """Through a directory, as every model goes."""
    with saved(seed, json.loads(config_json)) as directory:
        found = checkpoint.load(directory)
        return Twins(found.config, found.weights, on_device.load(directory))


@contextmanager
def saved(seed: int, config: Mapping[str, Any]) -> Iterator[Path]:
    """A directory with random weights, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "config.json").write_text(json.dumps(config))
        shapes = expected_tensors(checkpoint.read_config(directory))
        rng = np.random.default_rng(seed)
        tensors = {name: random(rng, name, shape) for name, shape in shapes}
        save_file(tensors, directory / checkpoint.SINGLE)
        yield directory


def random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Of a size that keeps activations near 1, as training does: what is hot adds up roundings."""
    if name.endswith("norm.weight"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    size = 1.0 if len(shape) == 1 or "embed" in name else shape[1] ** -0.5
    return rng.normal(0, size, shape).astype(np.float32)


@cache
def applied(graph: nnx.GraphDef[Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a module and arrays, compiled for one kind of module: it takes the module's
    state in the module's place.
    """
    return jax.jit(lambda state, *arrays: function(nnx.merge(graph, state), *arrays))


def apply(function: Callable[..., Any], module: nnx.Module, *arrays: Any) -> Any:
    """function(module, *arrays), compiled."""
    graph, state = nnx.split(module)
    return applied(graph, function)(state, *arrays)


class Paged:
    """A model, and the pages of one text that is read from the first token on."""

    def __init__(self, model: Llama, page_size: int = PAGE) -> None:
        graph, self.state = nnx.split(model)
        self.run, self.position = applied(graph, logits), 0
        count = -(-model.config.max_position_embeddings // page_size)
        self.layers = step.empty_pages(model, count, page_size)
        self.table = np.arange(1, count + 1, dtype=np.int32)[None]

    def read(self, tokens: Sequence[int] | np.ndarray, width: int | None = None) -> np.ndarray:
        """(T, V): the logits of T tokens that come next. width: of the chunk that they are read in,
        if it is not as long as they are; the rest of it is padding.
        """
        count, width = len(tokens), width or len(tokens)
        i = np.arange(width, dtype=np.int32)
        chunk = np.zeros(width, np.int32)
        chunk[:count] = tokens
        positions = self.position + np.where(i < count, i, 0).astype(np.int32)
        found, self.layers = self.run(
            self.state, chunk[None], positions[None], (i < count)[None], self.table, self.layers
        )
        self.position += count
        return np.asarray(found)[:count]


def logits(
    model: Llama, tokens: Any, positions: Any, written: Any, table: Any, layers: Any
) -> tuple[jax.Array, Any]:
    """Of one row of tokens, and the pages with what it has written."""
    x_BTD, layers = model.hidden_states(tokens, positions, written, table, layers)
    return model.logits(x_BTD[0]), layers


def pages_of(model: Llama, count: int) -> tuple[Any, jax.Array]:
    """Empty pages for one text, and its table."""
    return step.empty_pages(model, count, PAGE), jnp.arange(1, count + 1, dtype=jnp.int32)[None]
