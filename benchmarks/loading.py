"""Time and host memory of loading one device's shards of a large checkpoint.

    python -m benchmarks.loading DIR [--shape 70B] [--layers 80] [--tp 8]

Writes the checkpoint as sparse files, which have a size but no blocks: every tensor is 0.
Then reads the shards of the first of `tp` devices, parameter by parameter, and releases each: the
device's memory is not measured. Reading comes from the page cache, so the time is that of the host,
a lower bound for any disk. "whole tensors" reads and converts all of every tensor, as a host does
that slices on the devices.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.shapes import SHAPES
from jax_backend.model import checkpoint as loading
from jax_backend.model import sharding
from jax_backend.model.llama import Llama
from jax_backend.model.shards import Parameter
from reference.model import checkpoint
from reference.model.config import LlamaConfig
from reference.model.quantization_scheme import FLOATS
from reference.model.stored_tensors import INDEX
from reference.model.weights import expected_tensors

GB = 1e9
LAYERS_PER_FILE = 4
SAMPLE_SECONDS = 0.005
LLAMA_70B = {
    "vocab_size": 128256,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}
INT8 = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "strategy": "token",
                "dynamic": True,
            },
        }
    },
}
ITEM_SIZES = {"BF16": 2, "I8": 1, "F32": 4}


def write(directory: Path, sizes: Mapping[str, int], quantization: Any) -> int:
    """Write a sparse bfloat16 or quantized checkpoint. Return the size of its tensors in bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    fields = {"architectures": ["LlamaForCausalLM"], **sizes, "quantization_config": quantization}
    (directory / "config.json").write_text(json.dumps(fields))
    config = LlamaConfig.from_json(fields)
    files: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
    for name, shape in expected_tensors(config):
        layer = int(name.split(".")[2]) // LAYERS_PER_FILE if ".layers." in name else "rest"
        dtypes = FLOATS if config.quantization is None else config.quantization.stored_dtypes(name)
        dtype = "BF16" if "BF16" in dtypes else dtypes[0]
        files.setdefault(f"model-{layer}.safetensors", {})[name] = (dtype, shape)
    total = sum(write_sparse(directory / file, tensors) for file, tensors in files.items())
    weight_map = {name: file for file, tensors in files.items() for name in tensors}
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return total


def write_sparse(path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> int:
    """Write a header, and extend the file to the size of its tensors. Return that size."""
    header, offset = {}, 0
    for name, (dtype, shape) in tensors.items():
        stop = offset + prod(shape) * ITEM_SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    return offset


def parameters(directory: Path, tp: int) -> dict[tuple[str | int, ...], Parameter]:
    """Return how each parameter is read, as `jax_backend.model.checkpoint.load` does."""
    stored = checkpoint.read_config(directory)
    config = sharding.sharded_config(stored, tp)
    state = nnx.split(Llama(config, jnp.dtype(jnp.bfloat16)))[1]
    leaves = dict(nnx.to_flat_state(state))
    tensors = checkpoint.open_tensors(directory)
    return loading.parameters_of(tensors, leaves, stored, tp)


def first_shard(path: tuple[str | int, ...], shape: tuple[int, ...], tp: int) -> tuple[slice, ...]:
    """Return the part of a parameter that the first device has."""
    axes = sharding.mesh_axes(path)
    parts = [tp if axis == sharding.TP else 1 for axis in axes] + [1] * len(shape)
    return tuple(slice(0, size // part) for size, part in zip(shape, parts, strict=False))


def read_shards(directory: Path, tp: int) -> int:
    """Read the shards of one device, several parameters at a time. Return their size."""

    def read(item: tuple[tuple[str | int, ...], Parameter]) -> int:
        path, parameter = item
        return on_device(parameter.read(first_shard(path, parameter.shape, tp)))

    with ThreadPoolExecutor(loading.PARALLEL) as pool:
        return sum(pool.map(read, parameters(directory, tp).items()))


def read_whole_tensors(directory: Path, tp: int) -> int:
    """Read every tensor one after another, and put the first device's part of its bytes there."""
    return sum(
        on_device(tensor.reshape(-1)[: tensor.size // tp])
        for _, tensor in checkpoint.tensors(directory)
    )


def on_device(array: np.ndarray) -> int:
    """Copy an array to the device, release it, and return its size in bytes."""
    jax.block_until_ready(jax.device_put(array, may_alias=False))
    return array.nbytes


def anonymous_bytes() -> int:
    """Return the memory of this process without the pages of files."""
    text = Path("/proc/self/status").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the peak of this block over the memory before it, in bytes."""
    before, peak, stop = anonymous_bytes(), [0], threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], anonymous_bytes() - before)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: peak[0]
    finally:
        stop.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shape", choices=["70B", *SHAPES], default="70B")
    parser.add_argument("--layers", type=int, help="fewer layers, for a smaller machine")
    parser.add_argument("--tp", type=int, default=8)
    parser.add_argument("--methods", nargs="+", default=["shards", "whole tensors"])
    options = parser.parse_args()
    sizes = dict(LLAMA_70B if options.shape == "70B" else SHAPES[options.shape])
    if options.layers:
        sizes["num_hidden_layers"] = options.layers
    methods = {"shards": read_shards, "whole tensors": read_whole_tensors}
    print(
        "| weights | checkpoint | method | read per device | seconds | s/GB of the device | peak |"
    )
    print("|---|---|---|---|---|---|---|")
    for label, quantization in (("bfloat16", None), ("int8", INT8)):
        directory = options.directory / f"{options.shape}-{label}"
        total = write(directory, sizes, quantization)
        for method in options.methods:
            with peak_memory() as peak:
                start = time.perf_counter()
                size = methods[method](directory, options.tp)
                seconds = time.perf_counter() - start
            print(
                f"| {label} | {total / GB:.1f} GB | {method} | {size / GB:.2f} GB | {seconds:.1f} "
                f"| {seconds / (size / GB):.2f} | {peak() / 2**20:.0f} MiB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
