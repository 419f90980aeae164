"""A checkpoint directory in Hugging Face format: config.json, safetensors, generation_config.json.

Names, shapes and dtypes are checked from the headers before any data is read, and an error names
the file and the tensor. Only safetensors is read: a pickle (`pytorch_model.bin`, `.pth`) can run
code when it is opened.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # registers bfloat16, which safetensors then hands out
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
ROTARY_BUFFER = ".rotary_emb.inv_freq"  # older files store what config.json determines


class CheckpointError(ValueError):
    """A directory that is not a whole and sound checkpoint.

    The message names the file, and the tensor if it is one.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A model, and the ids that end a text of it."""

    config: LlamaConfig
    weights: Weights
    eos_token_ids: tuple[int, ...]
    directory: Path


def load(
    directory: str | Path, dtype: DTypeLike = np.float32, context: int | None = None
) -> Checkpoint:
    """Read a checkpoint as float32 or float64, converted tensor by tensor. context: the most tokens
    of a text, if not what the model has stored.

    Raises ConfigError for a model that is not supported, CheckpointError for an unsound directory.
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype: {np.dtype(dtype)} is neither float32 nor float64")
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
    """The model's shape, from config.json, with a context of so many tokens."""
    path = Path(directory) / "config.json"
    try:
        return LlamaConfig.from_json(_read_json(path)).with_context(context)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_eos_token_ids(directory: str | Path, config: LlamaConfig) -> tuple[int, ...]:
    """The ids that end a text: what generation_config.json says, or config.json if it is silent.

    Raises ConfigError for one that the model cannot draw: a text would never end.
    """
    path = Path(directory) / "generation_config.json"
    named = _read_json(path).get("eos_token_id") if path.exists() else None
    if named is None:
        path = Path(directory) / "config.json"
        named = list(config.eos_token_ids)
    try:
        found = as_token_ids("eos_token_id", named)
        for token in found:
            if token >= config.vocab_size:
                raise ConfigError(f"eos_token_id: {token} is not in 0 … {config.vocab_size - 1}")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return found


def tensors(
    directory: str | Path, dtype: DTypeLike | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of `expected_tensors` one by one, each in `dtype`, or else in that of its file.

    The call itself checks the headers; that every value is finite is checked tensor by tensor.
    """
    config = read_config(directory)
    stored = _stored(Path(directory))
    if config.vision is not None:
        stored = _in_one_spelling(stored)
    _check_names_and_shapes(stored, config)
    return _read(stored, config, dtype)


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What the header of a file says of one tensor. name: what it is called there."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]


def _read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object, in which no name stands twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                raise ValueError(f"{name!r} stands {count} times")
        return dict(pairs)

    try:
        value = json.loads(path.read_bytes(), object_pairs_hook=once)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return value


def _stored(directory: Path) -> dict[str, _Stored]:
    """Every tensor of the directory, from the headers of its files."""
    files = {path.name for path in directory.iterdir()}
    if INDEX in files:
        return _stored_by_index(directory, files)
    if SINGLE in files:
        return _header(directory / SINGLE)
    pickles = sorted(name for name in files if name.endswith(PICKLES))
    hint = f"; {pickles[0]} is a pickle, which is never loaded: convert it" if pickles else ""
    raise CheckpointError(f"{directory}: neither {SINGLE} nor {INDEX}{hint}")


def _stored_by_index(directory: Path, files: set[str]) -> dict[str, _Stored]:
    index = directory / INDEX
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: weight_map: missing or empty")
    for name, file in weight_map.items():
        # A listed name is a file of this directory: no path leads out of it.
        if not isinstance(file, str) or file not in files:
            raise CheckpointError(f"{index}: {name}: no file {file!r} in this directory")
    if SINGLE in files - set(weight_map.values()):
        raise CheckpointError(f"{index}: does not mention {SINGLE}, which stands beside it")
    stored: dict[str, _Stored] = {}
    for file in sorted(set(weight_map.values())):
        for name, tensor in _header(directory / file).items():
            if name in stored:
                other = stored[name].file.name
                raise CheckpointError(f"{directory / file}: {name}: also in {other}")
            if name not in weight_map:
                raise CheckpointError(f"{directory / file}: {name}: not in {INDEX}")
            stored[name] = tensor
    for name, file in weight_map.items():
        if name not in stored or stored[name].file.name != file:
            raise CheckpointError(f"{index}: {name}: not in {file}")
    return stored


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """A memory-mapped safetensors file, whose header the library has found to be sound."""
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: {error}") from None


def _header(path: Path) -> dict[str, _Stored]:
    with _open(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return {
            name: _Stored(
                file=path, name=name, dtype=part.get_dtype(), shape=tuple(part.get_shape())
            )
            for name, part in slices.items()
        }


def _in_one_spelling(stored: Mapping[str, _Stored]) -> dict[str, _Stored]:
    """The tensors of a LLaVA by the names that `reference.model.tensor_names` gives them."""
    found: dict[str, _Stored] = {}
    for tensor in stored.values():
        name = canonical(tensor.name)
        if name in found:
            raise CheckpointError(
                f"{tensor.file}: {tensor.name}: the same tensor as {found[name].name}"
            )
        found[name] = tensor
    return found


def _check_names_and_shapes(stored: Mapping[str, _Stored], config: LlamaConfig) -> None:
    allowed = {LM_HEAD} if config.tie_word_embeddings else set()
    for name, shape in expected_tensors(config):
        if name not in stored:
            raise CheckpointError(f"{name}: missing")
        _check(stored[name], shape)
        allowed.add(name)
    if config.vision is not None:
        allowed |= set(unused_tensors(config.vision))
    for name, tensor in stored.items():
        if name not in allowed and not name.endswith(ROTARY_BUFFER):
            raise CheckpointError(f"{tensor.file}: {tensor.name}: not a tensor of this model")
    if config.tie_word_embeddings and LM_HEAD in stored:
        _check(stored[LM_HEAD], stored[EMBEDDING].shape)


def _check(tensor: _Stored, shape: tuple[int, ...]) -> None:
    name = tensor.name
    if tensor.shape != shape:
        raise CheckpointError(f"{tensor.file}: {name}: shape {tensor.shape}, expected {shape}")
    if tensor.dtype not in DTYPES:
        raise CheckpointError(
            f"{tensor.file}: {name}: dtype {tensor.dtype} is not supported; {', '.join(DTYPES)} are"
        )


def _read(
    stored: Mapping[str, _Stored], config: LlamaConfig, dtype: DTypeLike | None
) -> Iterator[tuple[str, np.ndarray]]:
    if config.tie_word_embeddings and LM_HEAD in stored:
        _check_tied(stored[EMBEDDING], stored[LM_HEAD])
    for path in sorted({tensor.file for tensor in stored.values()}):
        with _open(path) as file:
            for name, _ in expected_tensors(config):
                if stored[name].file == path:
                    array = file.get_tensor(stored[name].name)
                    with np.errstate(all="ignore"):  # NaN is found just below
                        array = array.astype(array.dtype if dtype is None else dtype, copy=False)
                        extremes = array.min(), array.max()  # NaN if any value is
                    if not all(math.isfinite(value) for value in extremes):
                        raise CheckpointError(f"{path}: {name}: holds NaN or infinite values")
                    yield name, array


def _check_tied(embedding: _Stored, lm_head: _Stored, rows: int = 1024) -> None:
    """Tied embeddings that are stored twice are equal: engines disagree on which of them counts."""
    with _open(embedding.file) as one, _open(lm_head.file) as two:
        parts = one.get_slice(embedding.name), two.get_slice(lm_head.name)
        for start in range(0, embedding.shape[0], rows):
            stop = min(start + rows, embedding.shape[0])
            a, b = (part[start:stop].astype(np.float32) for part in parts)
            if not np.array_equal(a, b, equal_nan=True):
                raise CheckpointError(
                    f"{lm_head.file}: {lm_head.name}: differs from {embedding.name}, though "
                    "tie_word_embeddings is true"
                )
