"""What large models would need on TPUs, without one: the real steps, compiled for a slice by the
compiler of TPUs (libtpu), which needs no TPU for that.

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
from jax_backend.serving import step
from reference.model.config import LlamaConfig

GIB = 2**30
PAGE = 64  # positions
COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
    r".*?channel_id=(\d+)"
)

# What libtpu asks the environment for on a machine of Google's cloud.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


@dataclass(frozen=True, kw_only=True)
class Chip:
    """Of one chip: memory in bytes, its bandwidth in bytes a second, and bfloat16 operations a
    second. Source: cloud.google.com/tpu/docs, the page of each version.
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
    """A model on a slice. slots: choices that are decoded together, each with room for a whole
    context; chunk: tokens of a prompt that are read at once.
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
    """One computation, as its compiler sees it. memory: bytes on each device, weights and pages
    included. seconds: XLA's own estimate; floor: no device could read its weights, or do the
    multiplications, in less.
    """

    what: str
    memory: float
    collectives: Counter[str]
    seconds: float
    floor: float
    compiling: float


def slice_of(topology: str) -> Mesh:
    """The devices of a slice that is not here, in a row."""
    os.environ |= ENVIRONMENT
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    return Mesh(np.array(found.devices).reshape(-1), (TP,), axis_types=(AxisType.Auto,))


@contextmanager
def on(mesh: Mesh) -> Iterator[None]:
    """What is compiled in this block is for those devices: kernels ask the mesh."""
    with compiling_for("tpu"), jax.sharding.set_mesh(mesh):
        yield


def weights_of(model: Llama) -> tuple[nnx.GraphDef[Llama], Any, list[Any]]:
    """A model's structure and its weights, without data, each where it would lie."""
    assert model.mesh is not None
    graph, state = nnx.split(model)
    leaves = dict(nnx.to_flat_state(state))
    for place, leaf in leaves.items():
        shape, where = leaf.get_value(), sharding.of_weight(model.mesh, place)
        leaves[place] = leaf.replace(jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where))
    flat, structure = jax.tree.flatten(nnx.from_flat_state(leaves))
    return graph, structure, flat


def compile_steps(case: Case) -> list[Compiled]:
    """A decoding step and the reading of a chunk, for one model on one slice."""
    mesh = slice_of(case.topology)
    with on(mesh):
        config = sharding.fitted(case.config, sharding.size(mesh))
        model = Llama(config, jnp.dtype(jnp.bfloat16), mesh=mesh)
        graph, structure, weights = weights_of(model)
        table = config.max_position_embeddings // PAGE
        pages = case.slots * table
        heads = NamedSharding(mesh, P(*[None] * model.attention.heads, TP))
        layers = placed(jax.eval_shape(lambda: step.empty_pages(model, pages, PAGE)), heads)
        everywhere = sharding.everywhere(mesh)
        program = step.program(graph, structure)

        ints = integers(everywhere)
        one = ints(case.slots)
        rows = step.Rows(one, one, one, ints(case.slots, table))
        size = ints(case.chunk)
        chunk = step.Chunk(size, size, ints(), ints(), ints(), ints(table))
        held = sum(w.size * w.dtype.itemsize for w in weights) / sharding.size(mesh)
        worked = held  # operations a token: two for each weight, which has two bytes
        return [
            measured(
                f"decode, {case.slots} choices",
                program.feed.lower(weights, layers, one, rows, None),
                max(held / case.chip.bandwidth, case.slots * worked / case.chip.operations),
            ),
            measured(
                f"read {case.chunk} tokens of a prompt",
                program.read.lower(weights, layers, chunk, None, None),
                max(held / case.chip.bandwidth, case.chunk * worked / case.chip.operations),
            ),
        ]


def placed(tree: Any, where: NamedSharding) -> Any:
    """Shapes, each where it would lie."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree)


def integers(where: NamedSharding) -> Callable[..., jax.ShapeDtypeStruct]:
    def ints(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=where)

    return ints


def measured(what: str, lowered: Any, floor: float) -> Compiled:
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
        what=what,
        memory=total,
        collectives=Counter(name for name, _ in set(COLLECTIVE.findall(compiled.as_text()))),
        seconds=cost["optimal_seconds"] % 1,  # a kernel that it knows nothing of counts −1
        floor=floor,
        compiling=time.perf_counter() - start,
    )


def row(case: Case, found: Compiled) -> str:
    told = ", ".join(f"{count} {name}" for name, count in sorted(found.collectives.items()))
    cells = (
        case.shape,
        case.topology,
        found.what,
        f"{found.memory / GIB:.1f} of {case.chip.memory / GIB:.0f} GiB",
        told,
        f"{1e3 * found.seconds:.2f} ms",
        f"{1e3 * found.floor:.2f} ms",
    )
    return f"| {' | '.join(cells)} |"


def check(case: Case, found: Compiled) -> None:
    """Raises SystemExit for what does not fit, or says more than it must."""
    what = f"{case.shape} on {case.topology}: {found.what}"
    if found.memory > case.chip.memory:
        raise SystemExit(f"{what}: does not fit")
    sums, gathered = found.collectives["all-reduce"], found.collectives["all-gather"]
    more = found.collectives.keys() - {"all-reduce", "all-gather"}
    if more or gathered > 1 or sums > 2 * case.config.num_hidden_layers + 1:
        raise SystemExit(f"{what}: {dict(found.collectives)}")


TEMPLATE = Path(__file__).with_name("tpu.md.in")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpu", description=__doc__)
    parser.add_argument("--out", type=Path, help="the page to write; else the table is printed")
    given = parser.parse_args()
    rows = []
    for case in CASES:
        for found in compile_steps(case):
            rows.append(row(case, found))
            print(rows[-1], f"compiled in {found.compiling:.0f} s", flush=True)
            check(case, found)
    if given.out:
        given.out.write_text(TEMPLATE.read_text().replace("ROWS", "\n".join(rows)))


if __name__ == "__main__":
    main()
