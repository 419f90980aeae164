"""Small models with random weights, loaded by the reference and by the JAX backend."""

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

from conformance.parity.harness.random_tensors import random_tensor
from jax_backend.model import checkpoint as jax_checkpoint
from jax_backend.model.llama import Llama, TokenBlocks
from jax_backend.serving import state
from reference.model import checkpoint
from reference.model.config import LlamaConfig
from reference.model.stored_tensors import SINGLE
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


VISION = {
    "architectures": ["LlavaForConditionalGeneration"],
    "text_config": SMALL,
    "image_token_index": 36,
}


@dataclass(frozen=True)
class Twins:
    """The reference's weights and the JAX model, loaded from the same checkpoint."""

    config: LlamaConfig
    weights: Weights
    model: Llama


def twins(
    seed: int, fields: Mapping[str, Any], small: Mapping[str, Any] = MappingProxyType(SMALL)
) -> Twins:
    """Return twins with random weights. fields: of config.json, in addition to those of `small`."""
    return _twins(seed, json.dumps(dict(small) | dict(fields)))


@cache
def _twins(seed: int, config_json: str) -> Twins:
    with saved_checkpoint(seed, json.loads(config_json)) as directory:
        loaded = checkpoint.load(directory)
        return Twins(loaded.config, loaded.weights, jax_checkpoint.load(directory))


@contextmanager
def saved_checkpoint(seed: int, config: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a checkpoint directory with random weights, deleted at the end of the block."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "config.json").write_text(json.dumps(config))
        read = checkpoint.read_config(directory)
        rng = np.random.default_rng(seed)
        tensors = {
            name: random_tensor(rng, read, name, shape) for name, shape in expected_tensors(read)
        }
        save_file(tensors, directory / SINGLE)
        yield directory


@cache
def compiled_apply(graph: nnx.GraphDef[Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of a module and arrays for one module structure. The compiled function
    takes the module's state instead of the module.
    """
    return jax.jit(lambda state, *arrays: function(nnx.merge(graph, state), *arrays))


def apply(function: Callable[..., Any], module: nnx.Module, *arrays: Any) -> Any:
    """Return function(module, *arrays), compiled."""
    graph, state = nnx.split(module)
    return compiled_apply(graph, function)(state, *arrays)


class PagedSequence:
    """A model and the KV pages of one sequence, which is prefilled from the first token on."""

    def __init__(self, model: Llama, page_size: int = PAGE) -> None:
        graph, self.state = nnx.split(model)
        self.run, self.position = compiled_apply(graph, chunk_logits), 0
        count = -(-model.config.max_position_embeddings // page_size)
        self.layers = state.empty_pages(model, count, page_size)
        self.page_table = np.arange(1, count + 1, dtype=np.int32)[None]

    def prefill(
        self, tokens: Sequence[int] | np.ndarray, chunk_size: int | None = None
    ) -> np.ndarray:
        """Append T tokens and return their logits, (T, V). chunk_size: size with padding, T by
        default.
        """
        count, chunk_size = len(tokens), chunk_size or len(tokens)
        i = np.arange(chunk_size, dtype=np.int32)
        chunk = np.zeros(chunk_size, np.int32)
        chunk[:count] = tokens
        positions = self.position + np.where(i < count, i, 0).astype(np.int32)
        logits, self.layers = self.run(
            self.state,
            chunk[None],
            positions[None],
            (i < count)[None],
            self.page_table,
            self.layers,
        )
        self.position += count
        return np.asarray(logits)[:count]


def chunk_logits(
    model: Llama, tokens: Any, positions: Any, written: Any, page_table: Any, layers: Any
) -> tuple[jax.Array, Any]:
    """Compute the logits of one row of tokens, and the updated pages."""
    block = TokenBlocks(tokens, positions, written, page_table)
    (x_BTD,), layers = model.hidden_states([block], layers)
    return model.logits(x_BTD[0]), layers


def empty_pages(model: Llama, count: int) -> tuple[Any, jax.Array]:
    """Allocate pages for one sequence, and its page table."""
    return state.empty_pages(model, count, PAGE), jnp.arange(1, count + 1, dtype=jnp.int32)[None]
