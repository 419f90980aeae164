"""A checkpoint directory in Hugging Face format: config.json, safetensors, generation_config.json.

Names, shapes and dtypes are validated from the headers before any data is read. Errors name the
file and the tensor. Only safetensors is read: a pickle (`pytorch_model.bin`, `.pth`) can run code
when it is opened.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from reference.model.config import AUTO, LlamaConfig
from reference.model.config_fields import ConfigError, as_token_ids
from reference.model.quantization_checks import check_quantization
from reference.model.quantization_scheme import FLOATS
from reference.model.stored_tensors import (
    CheckpointError,
    StoredTensor,
    read_headers,
    read_json,
)
from reference.model.tensor_names import canonical
from reference.model.vision_weights import unused_tensors
from reference.model.weights import EMBEDDING, LM_HEAD, Weights, expected_tensors

ROTARY_BUFFER = ".rotary_emb.inv_freq"  # in old files; config.json determines it


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A loaded model and its end-of-sequence ids."""

    config: LlamaConfig
    weights: Weights
    eos_token_ids: tuple[int, ...]
    directory: Path


def load(
    directory: str | Path,
    dtype: DTypeLike = np.float32,
    context: int | None = None,
    kv_dtype: str = AUTO,
) -> Checkpoint:
    """Read a checkpoint as float32 or float64, converted tensor by tensor.

    context: maximum context length, if not the stored one. kv_dtype: of the KV cache
    (`LlamaConfig.with_kv_dtype`). Raises ConfigError for an unsupported model, CheckpointError for
    an invalid directory.
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype: must be float32 or float64, got {np.dtype(dtype)}")
    config = read_config(directory, context, kv_dtype)
    eos_token_ids = read_eos_token_ids(directory, config)
    weights = Weights.from_tensors(config, dict(tensors(directory, dtype)))
    return Checkpoint(
        config=config,
        weights=weights,
        eos_token_ids=eos_token_ids,
        directory=Path(directory),
    )


def read_config(
    directory: str | Path, context: int | None = None, kv_dtype: str = AUTO
) -> LlamaConfig:
    """Read config.json. context, kv_dtype: see `load`."""
    path = Path(directory) / "config.json"
    try:
        config = LlamaConfig.from_json(read_json(path))
        return config.with_context(context).with_kv_dtype(kv_dtype)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_eos_token_ids(directory: str | Path, config: LlamaConfig) -> tuple[int, ...]:
    """Read the end-of-sequence ids from generation_config.json, or else from config.json.

    Raises ConfigError for an id outside the vocabulary: the model would never sample it.
    """
    path = Path(directory) / "generation_config.json"
    value = read_json(path).get("eos_token_id") if path.exists() else None
    if value is None:
        path = Path(directory) / "config.json"
        value = list(config.eos_token_ids)
    try:
        ids = as_token_ids("eos_token_id", value)
        for token in ids:
            if token >= config.vocab_size:
                raise ConfigError(f"eos_token_id: must be 0 … {config.vocab_size - 1}, got {token}")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return ids


def open_tensors(directory: str | Path) -> dict[str, StoredTensor]:
    """Validate the headers, and return the tensors of `expected_tensors`, whose data is not read
    yet. A scale may have another shape than the expected one, but as many values.
    """
    config = read_config(directory)
    stored = _canonical_names(read_headers(Path(directory)), config)
    _check_names_and_shapes(stored, config)
    if config.quantization is not None:
        check_quantization(config, stored)
    if config.tie_word_embeddings and LM_HEAD in stored:
        _check_tied(stored[EMBEDDING], stored[LM_HEAD])
    return {name: stored[name] for name, _ in expected_tensors(config)}


def tensors(
    directory: str | Path, dtype: DTypeLike | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Validate the headers, and return an iterator over the tensors of `expected_tensors`.

    Each is in `dtype`, or else in its stored dtype; quantized weights always are. The iterator
    raises CheckpointError for values that are not finite.
    """
    stored = open_tensors(directory)  # raises if the config claims more tensors than there are
    return _read_tensors(stored, dict(expected_tensors(read_config(directory))), dtype)


def _read_tensors(
    stored: Mapping[str, StoredTensor],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: DTypeLike | None,
) -> Iterator[tuple[str, np.ndarray]]:
    for name, tensor in stored.items():
        array = tensor.read().reshape(shapes[name])
        if dtype is not None and tensor.dtype in FLOATS:
            array = array.astype(dtype)
        yield name, array


def _canonical_names(
    stored: Mapping[str, StoredTensor], config: LlamaConfig
) -> dict[str, StoredTensor]:
    """Return the tensors by their names in `expected_tensors`."""
    tensors: dict[str, StoredTensor] = {}
    for tensor in stored.values():
        name = tensor.name if config.vision is None else canonical(tensor.name)
        if config.quantization is not None:
            name = config.quantization.canonical(name)
        if name in tensors:
            raise CheckpointError(
                f"{tensor.file}: {tensor.name}: the same tensor as {tensors[name].name}"
            )
        tensors[name] = tensor
    return tensors


def _check_names_and_shapes(stored: Mapping[str, StoredTensor], config: LlamaConfig) -> None:
    allowed = {LM_HEAD} if config.tie_word_embeddings else set()
    for name, shape in expected_tensors(config):
        if name not in stored:
            raise CheckpointError(f"{name}: missing")
        dtypes = FLOATS if config.quantization is None else config.quantization.stored_dtypes(name)
        _check_shape_and_dtype(stored[name], shape, dtypes, name.endswith("_scale"))
        allowed.add(name)
    if config.vision is not None:
        allowed |= set(unused_tensors(config.vision))
    for name, tensor in stored.items():
        if name not in allowed and not name.endswith(ROTARY_BUFFER):
            raise CheckpointError(f"{tensor.file}: {tensor.name}: not a tensor of this model")
    if config.tie_word_embeddings and LM_HEAD in stored:
        _check_shape_and_dtype(stored[LM_HEAD], stored[EMBEDDING].shape)


def _check_shape_and_dtype(
    tensor: StoredTensor,
    shape: tuple[int, ...],
    dtypes: tuple[str, ...] = FLOATS,
    is_scale: bool = False,
) -> None:
    """Check a header entry. Scales are written with and without axes of size 1."""
    name, actual, expected = tensor.name, tensor.shape, shape
    if is_scale:
        actual, expected = (tuple(n for n in sizes if n != 1) for sizes in (actual, expected))
    if actual != expected:
        raise CheckpointError(f"{tensor.file}: {name}: shape must be {shape}, got {tensor.shape}")
    if tensor.dtype not in dtypes:
        raise CheckpointError(
            f"{tensor.file}: {name}: dtype must be one of {', '.join(dtypes)}, got {tensor.dtype}"
        )


def _check_tied(embedding: StoredTensor, lm_head: StoredTensor, rows: int = 1024) -> None:
    """Check that tied embeddings stored twice are equal. Engines differ in which one they use."""
    for start in range(0, embedding.shape[0], rows):
        part = slice(start, start + rows)
        a, b = (tensor.read(part).astype(np.float32) for tensor in (embedding, lm_head))
        if not np.array_equal(a, b):
            raise CheckpointError(
                f"{lm_head.file}: {lm_head.name}: differs from {embedding.name}, although "
                "tie_word_embeddings is true"
            )
