"""Large models on TPUs, by ahead-of-time cross-compilation: the engine's steps, compiled for TPU
slices by libtpu on a machine without a TPU.

    make tpu        # writes docs/tpu.md
"""

import argparse
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_backend.model import sharding
from jax_backend.model.llama import Llama
from jax_backend.model.sharding import TP
from jax_backend.platform import compiling_for
from jax_backend.serving.program import LaunchImages, compiled_program
from jax_backend.serving.state import BatchInputs, SegmentInputs, empty_pages
from reference.model.config import LlamaConfig

GIB = 2**30
PAGE_SIZE = SEGMENT_SIZE = 64
COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
    r".*?channel_id=(\d+)"
)

# Environment variables that libtpu reads on a Google Cloud machine.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A chip: memory in bytes, bandwidth in bytes per second, bfloat16 operations per second.

    Source: cloud.google.com/tpu/docs, the page of each version.
    """

    memory: float
    bandwidth: float
    operations: float


CHIPS = {
    "v5e": Chip(memory=16 * GIB, bandwidth=819e9, operations=197e12),
    "v5p": Chip(memory=95 * GIB, bandwidth=2765e9, operations=459e12),
    "v6e": Chip(memory=32 * GIB, bandwidth=1638e9, operations=918e12),
}

LLAMA_2: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
}
SHAPES: dict[str, dict[str, Any]] = {
    "Llama-2-7B": {},
    "Llama-2-70B": {
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model on a slice. slots: running sequences, each with KV cache for a whole context. chunk:
    prefill chunk size.
    """

    shape: str
    topology: str
    slots: int = 32
    chunk: int = 128

    @property
    def config(self) -> LlamaConfig:
        return LlamaConfig.from_json(LLAMA_2 | SHAPES[self.shape])

    @property
    def chip(self) -> Chip:
        return CHIPS[self.topology.partition(":")[0]]


CASES = (
    Case(shape="Llama-2-7B", topology="v5e:2x4"),
    Case(shape="Llama-2-70B", topology="v5p:2x2x1"),
    Case(shape="Llama-2-70B", topology="v6e:2x4"),
)


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One compiled computation. memory: bytes per device, with weights and KV cache. seconds: XLA's
    own estimate. roofline: the time to read the weights or to multiply, whichever is longer.
    compile_time: in seconds.
    """

    name: str
    memory: float
    collectives: Counter[str]
    seconds: float
    roofline: float
    compile_time: float


def slice_mesh(topology: str) -> Mesh:
    """Return a one-dimensional mesh of the devices of a slice, which need not exist here."""
    os.environ |= ENVIRONMENT
    description = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    return Mesh(np.array(description.devices).reshape(-1), (TP,), axis_types=(AxisType.Auto,))


@contextmanager
def compiling_on(mesh: Mesh) -> Iterator[None]:
    """Compile for the devices of a mesh within the block: kernels look it up."""
    with compiling_for("tpu"), jax.sharding.set_mesh(mesh):
        yield


def abstract_weights(model: Llama) -> tuple[nnx.GraphDef[Llama], Any, list[Any]]:
    """Return a model's structure and its weights, without data, with their sharding."""
    assert model.mesh is not None
    graph, state = nnx.split(model)
    leaves = dict(nnx.to_flat_state(state))
    for path, leaf in leaves.items():
        value, placement = leaf.get_value(), sharding.weight_sharding(model.mesh, path)
        struct = jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=placement)
        leaves[path] = leaf.replace(struct)
    flat, structure = jax.tree.flatten(nnx.from_flat_state(leaves))
    return graph, structure, flat


def compile_steps(case: Case) -> list[Compiled]:
    """Compile the decode step and a prefill chunk, for one model on one slice."""
    mesh = slice_mesh(case.topology)
    with compiling_on(mesh):
        config = sharding.sharded_config(case.config, sharding.mesh_size(mesh))
        model = Llama(config, jnp.dtype(jnp.bfloat16), mesh=mesh)
        graph, structure, weights = abstract_weights(model)
        pages_per_sequence = config.max_position_embeddings // PAGE_SIZE
        num_pages = case.slots * pages_per_sequence
        heads = NamedSharding(mesh, P(*[None] * model.attention.heads, TP))
        pages = jax.eval_shape(lambda: empty_pages(model, num_pages, PAGE_SIZE))
        layers = with_sharding(pages, heads)
        program = compiled_program(graph, structure)

        int32 = int32_shapes(sharding.replicated(mesh))
        num_segments, slots = case.chunk // SEGMENT_SIZE, int32(case.slots)
        tokens, starts = int32(num_segments, SEGMENT_SIZE), int32(num_segments)
        batch = BatchInputs(slots, slots, slots, int32(case.slots, pages_per_sequence))
        segments = SegmentInputs(
            tokens, tokens, starts, starts, int32(num_segments, pages_per_sequence)
        )
        weight_bytes = sum(w.size * w.dtype.itemsize for w in weights) / sharding.mesh_size(mesh)
        operations = weight_bytes  # per token: two for each weight, which has two bytes
        reading = weight_bytes / case.chip.bandwidth
        return [
            compile_one(
                f"decode, {case.slots} sequences",
                program.forward.lower(weights, layers, slots, batch, None, LaunchImages()),
                max(reading, case.slots * operations / case.chip.operations),
            ),
            compile_one(
                f"prefill, {case.chunk} tokens",
                program.forward.lower(weights, layers, slots, None, segments, LaunchImages()),
                max(reading, case.chunk * operations / case.chip.operations),
            ),
        ]


def with_sharding(tree: Any, placement: NamedSharding) -> Any:
    """Return shapes with their sharding."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement), tree)


def int32_shapes(placement: NamedSharding) -> Callable[..., jax.ShapeDtypeStruct]:
    def int32(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=placement)

    return int32


def compile_one(name: str, lowered: Any, roofline: float) -> Compiled:
    """Compile one computation and return the compiler's figures."""
    start = time.perf_counter()
    compiled = lowered.compile()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    total = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    return Compiled(
        name=name,
        memory=total,
        collectives=Counter(kind for kind, _ in set(COLLECTIVE.findall(compiled.as_text()))),
        seconds=cost["optimal_seconds"] % 1,  # an unknown kernel counts −1
        roofline=roofline,
        compile_time=time.perf_counter() - start,
    )


def table_row(case: Case, compiled: Compiled) -> str:
    collectives = sorted(compiled.collectives.items())
    cells = (
        case.shape,
        case.topology,
        compiled.name,
        f"{compiled.memory / GIB:.1f} of {case.chip.memory / GIB:.0f} GiB",
        ", ".join(f"{count} {name}" for name, count in collectives),
        f"{1e3 * compiled.seconds:.2f} ms",
        f"{1e3 * compiled.roofline:.2f} ms",
    )
    return f"| {' | '.join(cells)} |"


def check(case: Case, compiled: Compiled) -> None:
    """Raise SystemExit if it does not fit in memory, or has unexpected collectives."""
    title = f"{case.shape} on {case.topology}: {compiled.name}"
    if compiled.memory > case.chip.memory:
        raise SystemExit(f"{title}: does not fit in memory")
    reduced, gathered = compiled.collectives["all-reduce"], compiled.collectives["all-gather"]
    unexpected = compiled.collectives.keys() - {"all-reduce", "all-gather"}
    if unexpected or gathered > 1 or reduced > 2 * case.config.num_hidden_layers + 1:
        raise SystemExit(f"{title}: unexpected collectives in {dict(compiled.collectives)}")


TEMPLATE = Path(__file__).with_name("tpu.md.in")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpu", description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="the page to write; by default the table is printed"
    )
    options = parser.parse_args()
    rows = []
    for case in CASES:
        for compiled in compile_steps(case):
            rows.append(table_row(case, compiled))
            print(rows[-1], f"compiled in {compiled.compile_time:.0f} s", flush=True)
            check(case, compiled)
    if options.out:
        options.out.write_text(TEMPLATE.read_text().replace("ROWS", "\n".join(rows)))


if __name__ == "__main__":
    main()
