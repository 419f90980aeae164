"""Shards of parameters: which rows and columns of which stored tensors a part of a parameter has.

Parameters differ from tensors in four ways: projections of the same input are fused, their rows
ordered by device; KV heads are repeated for devices that have none; the vocabulary is padded; and
weight scales are repeated for each row that they apply to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import jax
import numpy as np

from reference.model.config import LlamaConfig
from reference.model.quantization_scheme import Scheme
from reference.model.stored_tensors import StoredTensor

# Projections that `jax_backend.model.llama` fuses, in this order.
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
KV_PROJECTIONS = ("k_proj", "v_proj")

Index = tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stored tensor, as rows of a parameter. rows: how many, with those that are repeated.

    head_dim, repeats: each head of `head_dim` rows occurs `repeats` times. scheme: of a quantized
    layer. in_features: of its weights.
    """

    tensor: StoredTensor
    rows: int
    head_dim: int = 1
    repeats: int = 1
    scheme: Scheme | None = None
    in_features: int = 0
    is_scale: bool = False

    def read(self, start: int, stop: int, rest: Index) -> np.ndarray:
        """Return some rows, in the stored dtype. rest: the parts of the other axes."""
        H, times = self.head_dim, self.repeats
        if times == 1:
            return self._read(slice(start, stop), rest)
        heads = range(start // H, stop // H)  # a device has whole heads
        rows = [slice(h // times * H, (h // times + 1) * H) for h in heads]
        return np.concatenate([self._read(part, rest) for part in rows])

    def _read(self, rows: slice, rest: Index) -> np.ndarray:
        if self.is_scale and self.scheme is not None:
            return self._read_scales(rows)
        if self.scheme is not None and self.scheme.packed:
            return self._read_packed(rows, rest[0])
        return self.tensor.read((rows, *rest))

    def _read_scales(self, rows: slice) -> np.ndarray:
        """Return the scales of each row, (rows, blocks)."""
        assert self.scheme is not None
        out_features = self.rows // self.repeats
        shape = self.scheme.scale_shape(out_features, self.in_features)
        first, last = (
            row // (self.scheme.rows or out_features) for row in (rows.start, rows.stop - 1)
        )
        blocks = self.tensor.read().reshape(shape)[first : last + 1]
        repeated = np.repeat(blocks, self.scheme.rows or out_features, axis=0)
        start = rows.start - first * (self.scheme.rows or out_features)
        return repeated[start : start + rows.stop - rows.start]

    def _read_packed(self, rows: slice, columns: slice) -> np.ndarray:
        """Return int8 weights of which four are in an int32, the first in the lowest byte."""
        start, stop, _ = columns.indices(self.in_features)
        packed = self.tensor.read((rows, slice(start // 4, -(-stop // 4))))
        biased = packed.astype("<i4", copy=False).view(np.uint8)
        skipped = start % 4
        return (biased[:, skipped : skipped + stop - start] ^ 0x80).view(np.int8)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of the module tree, read from its parts. tp: the degree of tensor parallelism."""

    parts: Sequence[Part]
    shape: tuple[int, ...]
    dtype: np.dtype
    tp: int

    @classmethod
    def of(
        cls,
        path: Sequence[str | int],
        tensors: Mapping[str, StoredTensor],
        leaf: jax.ShapeDtypeStruct,
        config: LlamaConfig,
        tp: int,
    ) -> "Parameter":
        """Describe the parameter at a path of the module tree. tensors: by their part of a fused
        projection. leaf: its shape and dtype. config: of the checkpoint.
        """
        names = next((FUSED[str(name)] for name in path if name in FUSED), tuple(tensors))
        scheme, in_features = None, 0
        if path[-1] in ("weight", "weight_scale") and config.quantization is not None:
            tensor = next(iter(tensors.values()))
            module = tensor.name.rpartition(".")[0]
            if config.quantization.applies(module):
                scheme, in_features = config.quantization.scheme, input_size(path, config)
        return cls(
            parts=[
                part_of(path, name, tensors[name], config, tp, scheme, in_features)
                for name in names
            ],
            shape=leaf.shape,
            dtype=np.dtype(leaf.dtype),
            tp=tp,
        )

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def read(self, index: Index) -> np.ndarray:
        """Return the part of the parameter that one device has. index: it begins and ends at
        boundaries of the shards.
        """
        if not self.shape:  # a scale of the whole layer, the same in all parts
            return self.parts[0].tensor.read().reshape(()).astype(self.dtype)
        start, stop, _ = index[0].indices(self.shape[0])
        if len(self.parts) == 1:
            [part] = self.parts
            read = [part.read(start, min(stop, part.rows), index[1:])]
            padding = stop - max(start, min(stop, part.rows))
        else:
            shard, padding = self.shape[0] // self.tp, 0
            devices = range(start // shard, stop // shard)
            read = [
                part.read(
                    device * part.rows // self.tp, (device + 1) * part.rows // self.tp, index[1:]
                )
                for device in devices
                for part in self.parts
            ]
        array = (read[0] if len(read) == 1 else np.concatenate(read)).astype(self.dtype, copy=False)
        if padding:  # of the vocabulary
            array = np.pad(array, [(0, padding), *[(0, 0)] * (array.ndim - 1)])
        return array


def part_of(
    path: Sequence[str | int],
    name: str,
    tensor: StoredTensor,
    config: LlamaConfig,
    tp: int,
    scheme: Scheme | None,
    in_features: int,
) -> Part:
    """Describe one part of a parameter. name: of the projection."""
    head_dim = repeats = 1
    rows = tensor.shape[0] if tensor.shape else 1
    is_scale = path[-1] == "weight_scale"
    if name in KV_PROJECTIONS and path[0] == "layers" and path[-1] != "input_scale":
        K = config.num_key_value_heads
        head_dim, repeats = config.head_dim, max(K, tp) // K
        rows = K * head_dim * repeats
    elif is_scale:
        rows = output_size(name, config)
    return Part(
        tensor=tensor,
        rows=rows,
        head_dim=head_dim,
        repeats=repeats,
        scheme=scheme,
        in_features=in_features,
        is_scale=is_scale,
    )


def input_size(path: Sequence[str | int], config: LlamaConfig) -> int:
    """Return the number of inputs of a linear layer."""
    if "o_proj" in path:
        return config.num_attention_heads * config.head_dim
    return config.intermediate_size if "down_proj" in path else config.hidden_size


def output_size(name: str, config: LlamaConfig) -> int:
    """Return the number of outputs of a linear layer, except those that KV heads decide."""
    if name == "q_proj":
        return config.num_attention_heads * config.head_dim
    return config.intermediate_size if name in ("gate_proj", "up_proj") else config.hidden_size
