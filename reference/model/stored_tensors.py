"""Tensors in safetensors files: what the headers say, and reading of parts through a memory map."""

import json
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pth", ".pt", ".ckpt")
CHECKED_BYTES = 2**20  # that are checked for NaN at a time, so that they stay in a cache

Index = EllipsisType | slice | tuple[slice, ...]

DTYPES: dict[str, Any] = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "I8": np.int8,
    "I32": np.int32,
    "I64": np.int64,
}
# The bits that are all 1 in NaN and infinity.
EXPONENTS = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80, "F8_E4M3": 0x7F}


class CheckpointError(ValueError):
    """An incomplete or invalid checkpoint. The message names the file, and the tensor if any."""


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """The header entry of one tensor. name: its name in the file. offset: of its data, in bytes."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def read(self, index: Index = ...) -> np.ndarray:
        """Copy a part of the tensor, in its stored dtype, and read no other part of the file.

        Raises CheckpointError if the part has NaN or infinite values. The dtype is one of DTYPES.
        """
        dtype = np.dtype(DTYPES[self.dtype])
        bits = np.dtype(f"<u{dtype.itemsize}")  # copied without Python's lock, unlike bfloat16
        try:
            mapped = np.memmap(self.file, bits, "r", self.offset, self.shape)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.file}: {self.name}: {error}") from None
        part = np.array(mapped[index])
        if self.dtype in EXPONENTS and not is_finite(part, EXPONENTS[self.dtype]):
            raise CheckpointError(f"{self.file}: {self.name}: contains NaN or infinite values")
        return part.view(dtype)


def is_finite(bits: np.ndarray, exponent: int) -> bool:
    """Return whether no number has all the bits of `exponent`. bits: contiguous."""
    flat, mask = bits.reshape(-1), bits.dtype.type(exponent)
    step = CHECKED_BYTES // bits.itemsize
    parts = (flat[i : i + step] for i in range(0, len(flat), step))
    return not any(((part & mask) == mask).any() for part in parts)


def read_json(path: Path) -> dict[str, Any]:
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


def read_headers(directory: Path) -> dict[str, StoredTensor]:
    """Return every tensor of a checkpoint directory, from the headers of its files.

    Raises CheckpointError for invalid files, and for an index that contradicts them.
    """
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


def _read_sharded_headers(directory: Path, files: set[str]) -> dict[str, StoredTensor]:
    index = directory / INDEX
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: weight_map: missing or empty")
    for name, file in weight_map.items():
        # The value must be a file name of this directory, so no path leads out of it.
        if not isinstance(file, str) or file not in files:
            raise CheckpointError(f"{index}: {name}: no file {file!r} in this directory")
    if SINGLE in files - set(weight_map.values()):
        raise CheckpointError(f"{index}: does not list {SINGLE}, which is in the same directory")
    stored: dict[str, StoredTensor] = {}
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


def _read_header(path: Path) -> dict[str, StoredTensor]:
    with _open(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        offsets = _offsets(path)
        return {
            name: StoredTensor(
                file=path,
                name=name,
                dtype=part.get_dtype(),
                shape=tuple(part.get_shape()),
                offset=offsets[name],
            )
            for name, part in slices.items()
        }


def _offsets(path: Path) -> dict[str, int]:
    """Return where each tensor's data begins in a valid file, in bytes."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    start = 8 + length
    return {
        name: start + entry["data_offsets"][0]
        for name, entry in header.items()
        if name != "__metadata__"
    }
