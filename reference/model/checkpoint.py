"""A checkpoint directory in Hugging Face format: config.json, safetensors, generation_config.json.

Names, shapes and dtypes are validated from the headers before any data is read. Errors name the
file and the tensor. Only safetensors is read: a pickle (`pytorch_model.bin`, `.pth`) can run code
when it is opened.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # registers bfloat16 for safetensors
import numpy as np
from numpy.typing import DTypeLike
from safetensors import SafetensorError, safe_open

from reference.model.config import LlamaConfig
from reference.model.config_fields import ConfigError, as_token_ids
from reference.model.tensor_names import canonical
from reference.model.vision_weights import unused_tensors
from reference.model.weights import EMBEDDING, LM_HEAD, Weights, expected_tensors

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = ("F32", "F16", "BF16")
PICKLES = (".bin", ".pth", ".pt", ".ckpt")
ROTARY_BUFFER = ".rotary_emb.inv_freq"  # in old files; config.json determines it


class CheckpointError(ValueError):
    """An incomplete or invalid checkpoint. The message names the file, and the tensor if any."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A loaded model and its end-of-sequence ids."""

    config: LlamaConfig
    weights: Weights
    eos_token_ids: tuple[int, ...]
    directory: Path


def load(
    directory: str | Path, dtype: DTypeLike = np.float32, context: int | None = None
) -> Checkpoint:
    """Read a checkpoint as float32 or float64, converted tensor by tensor.

    context: maximum context length, if not the stored one. Raises ConfigError for an unsupported
    model, CheckpointError for an invalid directory.
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype: must be float32 or float64, got {np.dtype(dtype)}")
    config = read_config(directory, context)
    eos_token_ids = read_eos_token_ids(directory, config)
    weights = Weights.from_tensors(config, dict(tensors(directory, dtype)))
    return Checkpoint(
        config=config,
        weights=weights,
        eos_token_ids=eos_token_ids,
        directory=Path(directory),
    )


def read_config(directory: str | Path, context: int | None = None) -> LlamaConfig:
    """Read config.json. context: maximum context length, if not the stored one."""
    path = Path(directory) / "config.json"
    try:
        return LlamaConfig.from_json(_read_json(path)).with_context(context)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_eos_token_ids(directory: str | Path, config: LlamaConfig) -> tuple[int, ...]:
    """Read the end-of-sequence ids from generation_config.json, or else from config.json.

    Raises ConfigError for an id outside the vocabulary: the model would never sample it.
    """
    path = Path(directory) / "generation_config.json"
    value = _read_json(path).get("eos_token_id") if path.exists() else None
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


def tensors(
    directory: str | Path, dtype: DTypeLike | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Validate the headers, and return an iterator over the tensors of `expected_tensors`.

    Each is in `dtype`, or else in its stored dtype. The iterator raises CheckpointError for values
    that are not finite.
    """
    config = read_config(directory)
    stored = _read_headers(Path(directory))
    if config.vision is not None:
        stored = _canonical_names(stored)
    _check_names_and_shapes(stored, config)
    return _read_tensors(stored, config, dtype)


@dataclass(frozen=True, kw_only=True)
class _StoredTensor:
    """The header entry of one tensor. name: its name in the file."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]


def _read_json(path: Path) -> dict[str, Any]:
    """Read a file with one JSON object. Raises CheckpointError, also for duplicate names."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                raise ValueError(f"{name!r} occurs {count} times")
        return dict(pairs)

    try:
        value = json.loads(path.read_bytes(), object_pairs_hook=unique)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return value


def _read_headers(directory: Path) -> dict[str, _StoredTensor]:
    """Return every tensor of the directory, from the headers of its files."""
    files = {path.name for path in directory.iterdir()}
    if INDEX in files:
        return _read_sharded_headers(directory, files)
    if SINGLE in files:
        return _read_header(directory / SINGLE)
    pickles = sorted(name for name in files if name.endswith(PICKLES))
    hint = (
        f"; {pickles[0]} is a pickle, which is never loaded: convert it to safetensors"
        if pickles
        else ""
    )
    raise CheckpointError(f"{directory}: neither {SINGLE} nor {INDEX}{hint}")


def _read_sharded_headers(directory: Path, files: set[str]) -> dict[str, _StoredTensor]:
    index = directory / INDEX
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: weight_map: missing or empty")
    for name, file in weight_map.items():
        # The value must be a file name of this directory, so no path leads out of it.
        if not isinstance(file, str) or file not in files:
            raise CheckpointError(f"{index}: {name}: no file {file!r} in this directory")
    if SINGLE in files - set(weight_map.values()):
        raise CheckpointError(f"{index}: does not list {SINGLE}, which is in the same directory")
    stored: dict[str, _StoredTensor] = {}
    for file in sorted(set(weight_map.values())):
        for name, tensor in _read_header(directory / file).items():
            if name in stored:
                first = stored[name].file.name
                raise CheckpointError(f"{directory / file}: {name}: also in {first}")
            if name not in weight_map:
                raise CheckpointError(f"{directory / file}: {name}: not in {INDEX}")
            stored[name] = tensor
    for name, file in weight_map.items():
        if name not in stored or stored[name].file.name != file:
            raise CheckpointError(f"{index}: {name}: not in {file}")
    return stored


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a memory-mapped safetensors file. The library validates the header."""
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: {error}") from None


def _read_header(path: Path) -> dict[str, _StoredTensor]:
    with _open(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return {
            name: _StoredTensor(
                file=path, name=name, dtype=part.get_dtype(), shape=tuple(part.get_shape())
            )
            for name, part in slices.items()
        }


def _canonical_names(stored: Mapping[str, _StoredTensor]) -> dict[str, _StoredTensor]:
    """Return the tensors of a LLaVA model by their canonical names."""
    tensors: dict[str, _StoredTensor] = {}
    for tensor in stored.values():
        name = canonical(tensor.name)
        if name in tensors:
            raise CheckpointError(
                f"{tensor.file}: {tensor.name}: the same tensor as {tensors[name].name}"
            )
        tensors[name] = tensor
    return tensors


def _check_names_and_shapes(stored: Mapping[str, _StoredTensor], config: LlamaConfig) -> None:
    allowed = {LM_HEAD} if config.tie_word_embeddings else set()
    for name, shape in expected_tensors(config):
        if name not in stored:
            raise CheckpointError(f"{name}: missing")
        _check_shape_and_dtype(stored[name], shape)
        allowed.add(name)
    if config.vision is not None:
        allowed |= set(unused_tensors(config.vision))
    for name, tensor in stored.items():
        if name not in allowed and not name.endswith(ROTARY_BUFFER):
            raise CheckpointError(f"{tensor.file}: {tensor.name}: not a tensor of this model")
    if config.tie_word_embeddings and LM_HEAD in stored:
        _check_shape_and_dtype(stored[LM_HEAD], stored[EMBEDDING].shape)


def _check_shape_and_dtype(tensor: _StoredTensor, shape: tuple[int, ...]) -> None:
    name = tensor.name
    if tensor.shape != shape:
        raise CheckpointError(f"{tensor.file}: {name}: shape must be {shape}, got {tensor.shape}")
    if tensor.dtype not in DTYPES:
        raise CheckpointError(
            f"{tensor.file}: {name}: dtype must be one of {', '.join(DTYPES)}, got {tensor.dtype}"
        )


def _read_tensors(
    stored: Mapping[str, _StoredTensor], config: LlamaConfig, dtype: DTypeLike | None
) -> Iterator[tuple[str, np.ndarray]]:
    if config.tie_word_embeddings and LM_HEAD in stored:
        _check_tied(stored[EMBEDDING], stored[LM_HEAD])
    for path in sorted({tensor.file for tensor in stored.values()}):
        with _open(path) as file:
            for name, _ in expected_tensors(config):
                if stored[name].file == path:
                    array = file.get_tensor(stored[name].name)
                    with np.errstate(all="ignore"):  # NaN is reported below
                        array = array.astype(array.dtype if dtype is None else dtype, copy=False)
                        extremes = array.min(), array.max()  # NaN if any value is
                    if not all(math.isfinite(value) for value in extremes):
                        raise CheckpointError(f"{path}: {name}: contains NaN or infinite values")
                    yield name, array


def _check_tied(embedding: _StoredTensor, lm_head: _StoredTensor, rows: int = 1024) -> None:
    """Check that tied embeddings stored twice are equal. Engines differ in which one they use."""
    with _open(embedding.file) as embedding_file, _open(lm_head.file) as lm_head_file:
        parts = embedding_file.get_slice(embedding.name), lm_head_file.get_slice(lm_head.name)
        for start in range(0, embedding.shape[0], rows):
            stop = min(start + rows, embedding.shape[0])
            a, b = (part[start:stop].astype(np.float32) for part in parts)
            if not np.array_equal(a, b, equal_nan=True):
                raise CheckpointError(
                    f"{lm_head.file}: {lm_head.name}: differs from {embedding.name}, although "
                    "tie_word_embeddings is true"
                )
