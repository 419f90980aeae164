"""The engine's steps, compiled ahead of time for devices that need not be present: `benchmarks.tpu`
and `benchmarks.gpu`.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_backend.model import sharding
from jax_backend.model.attention.base import Attention
from jax_backend.model.llama import Llama
from jax_backend.model.sharding import TP
from jax_backend.platform import compiling_for
from jax_backend.serving.program import CompiledProgram, LaunchImages, compiled_program
from jax_backend.serving.state import BatchInputs, SegmentInputs, empty_pages
from reference.model.config import LlamaConfig

GIB = 2**30
SEGMENT_SIZE = 64
COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
    r".*?channel_id=(\d+)"
)

LLAMA_2: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
}
LLAMA_3_1: dict[str, Any] = LLAMA_2 | {
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "num_key_value_heads": 8,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
SIZE_70B: dict[str, Any] = {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
}
SHAPES: dict[str, dict[str, Any]] = {
    "Llama-2-7B": LLAMA_2,
    "Llama-2-70B": LLAMA_2 | SIZE_70B,
    "Llama-3.1-8B": LLAMA_3_1 | {"intermediate_size": 14336},
    "Llama-3.1-70B": LLAMA_3_1 | SIZE_70B,
}


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A device: memory in bytes, bandwidth in bytes per second, bfloat16 operations per second."""

    memory: float
    bandwidth: float
    operations: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model on devices. devices: their name for the reader. slots: running sequences. cache: KV
    cache in whole contexts. chunk: prefill launch in tokens. layers: instead of the model's.
    """

    shape: str
    devices: str
    slots: int = 32
    cache: int = 32
    chunk: int = 128
    layers: int | None = None

    @property
    def config(self) -> LlamaConfig:
        fields = SHAPES[self.shape]
        if self.layers is not None:
            fields = fields | {"num_hidden_layers": self.layers}
        return LlamaConfig.from_json(fields)

    @property
    def title(self) -> str:
        return f"{self.shape} on {self.devices}"


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One compiled computation. memory: bytes per device, with weights and KV cache. roofline: the
    time to read the weights or to multiply, whichever is longer. text: the compiled program. cost:
    of XLA's analysis. compile_time: in seconds.
    """

    name: str
    memory: float
    roofline: float
    text: str
    cost: dict[str, float]
    compile_time: float

    @property
    def collectives(self) -> Counter[str]:
        """The number of collectives, by kind. A channel belongs to one."""
        return Counter(kind for kind, _ in set(COLLECTIVE.findall(self.text)))


@contextmanager
def compiling_on(platform: str, mesh: Mesh) -> Iterator[None]:
    """Compile for the devices of a mesh within the block: kernels look it up."""
    with compiling_for(platform), jax.sharding.set_mesh(mesh):
        yield


def abstract_weights(model: Llama, mesh: Mesh) -> tuple[nnx.GraphDef[Llama], Any, list[Any]]:
    """Return a model's structure and its weights, without data, with their sharding."""
    graph, state = nnx.split(model)
    leaves = dict(nnx.to_flat_state(state))
    for path, leaf in leaves.items():
        value, placement = leaf.get_value(), NamedSharding(mesh, P())
        if model.mesh is not None:
            placement = sharding.weight_sharding(mesh, path)
        struct = jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=placement)
        leaves[path] = leaf.replace(struct)
    flat, structure = jax.tree.flatten(nnx.from_flat_state(leaves))
    return graph, structure, flat


@dataclass(frozen=True)
class Program:
    """The program of a case, ready to be compiled. weight_bytes: of a device, without the table of
    rotations, of which a step reads a few rows.
    """

    case: Case
    program: CompiledProgram
    weights: list[Any]
    layers: Any
    weight_bytes: float
    page_size: int
    int32: Callable[..., jax.ShapeDtypeStruct]

    @property
    def pages_per_sequence(self) -> int:
        return -(-self.case.config.max_position_embeddings // self.page_size)

    def decode(self) -> Any:
        """Lower a decode step of all slots."""
        slots = self.int32(self.case.slots)
        tables = self.int32(self.case.slots, self.pages_per_sequence)
        batch = BatchInputs(slots, slots, slots, tables)
        return self.forward(slots, batch, None)

    def prefill(self) -> Any:
        """Lower a prefill launch."""
        count = self.case.chunk // SEGMENT_SIZE
        tokens, starts = self.int32(count, SEGMENT_SIZE), self.int32(count)
        tables = self.int32(count, self.pages_per_sequence)
        segments = SegmentInputs(tokens, tokens, starts, starts, tables)
        return self.forward(self.int32(self.case.slots), None, segments)

    def forward(self, slots: Any, batch: Any, segments: Any) -> Any:
        images = LaunchImages()
        return self.program.forward.lower(self.weights, self.layers, slots, batch, segments, images)

    def roofline(self, tokens: int, chip: Chip) -> float:
        """Return the seconds to read the weights or to multiply, whichever is longer. Per token
        there are two operations for each weight, which has two bytes.
        """
        reading = self.weight_bytes / chip.bandwidth
        return max(reading, tokens * self.weight_bytes / chip.operations)


def program_of(case: Case, mesh: Mesh, attention: Attention | None = None) -> Program:
    """Return the program of a case on a mesh, which may have one device. attention: by default that
    of the platform.
    """
    config = sharding.sharded_config(case.config, mesh.size)
    model = Llama(config, jnp.dtype(jnp.bfloat16), attention, mesh=mesh if mesh.size > 1 else None)
    graph, structure, weights = abstract_weights(model, mesh)
    page_size = model.attention.page_size(case.slots, config.max_position_embeddings)
    num_pages = case.cache * -(-config.max_position_embeddings // page_size)
    axes = [*[None] * model.attention.heads_axis, TP] if mesh.size > 1 else []
    pages = jax.eval_shape(lambda: empty_pages(model, num_pages, page_size))
    rotation = model.rotation.get_value()
    size = sum(w.size * w.dtype.itemsize for w in weights) - rotation.size * 4
    return Program(
        case=case,
        program=compiled_program(graph, structure),
        weights=weights,
        layers=with_sharding(pages, NamedSharding(mesh, P(*axes))),
        weight_bytes=size / mesh.size,
        page_size=page_size,
        int32=partial(int32_shape, NamedSharding(mesh, P())),
    )


def compile_steps(program: Program, chip: Chip, options: Any = None) -> list[Compiled]:
    """Compile the decode step and a prefill launch. options: of the compiler."""
    case = program.case
    steps = (
        (f"decode, {case.slots} sequences", program.decode, case.slots),
        (f"prefill, {case.chunk} tokens", program.prefill, case.chunk),
    )
    return [
        compile_one(name, lower(), program.roofline(tokens, chip), options)
        for name, lower, tokens in steps
    ]


def with_sharding(tree: Any, placement: NamedSharding) -> Any:
    """Return shapes with their sharding."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement), tree)


def int32_shape(placement: NamedSharding, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=placement)


def compile_one(name: str, lowered: Any, roofline: float, options: Any = None) -> Compiled:
    """Compile one computation and return the compiler's figures."""
    start = time.perf_counter()
    compiled = lowered.compile(compiler_options=options)
    memory = compiled.memory_analysis()
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
        roofline=roofline,
        text=compiled.as_text(),
        cost=compiled.cost_analysis() or {},
        compile_time=time.perf_counter() - start,
    )


def check(case: Case, chip: Chip, compiled: Compiled) -> None:
    """Raise SystemExit if it does not fit in memory, or has unexpected collectives."""
    title = f"{case.title}: {compiled.name}"
    if compiled.memory > chip.memory:
        raise SystemExit(f"{title}: does not fit in memory: {compiled.memory / GIB:.1f} GiB")
    reduced, gathered = compiled.collectives["all-reduce"], compiled.collectives["all-gather"]
    unexpected = compiled.collectives.keys() - {"all-reduce", "all-gather"}
    if unexpected or gathered > 1 or reduced > 2 * case.config.num_hidden_layers + 1:
        raise SystemExit(f"{title}: unexpected collectives in {dict(compiled.collectives)}")


def table_row(case: Case, chip: Chip, compiled: Compiled, *more: str) -> str:
    """Return a row of the table of a page, with further cells before the roofline."""
    collectives = sorted(compiled.collectives.items())
    cells = (
        case.shape,
        case.devices,
        compiled.name,
        f"{compiled.memory / GIB:.1f} of {chip.memory / GIB:.0f} GiB",
        ", ".join(f"{count} {name}" for name, count in collectives) or "none",
        *more,
        f"{1e3 * compiled.roofline:.2f} ms",
    )
    return f"| {' | '.join(cells)} |"


def write_page(template: Path, rows: Sequence[str], out: Path | None) -> None:
    """Write the page of a table."""
    if out is not None:
        out.write_text(template.read_text().replace("ROWS", "\n".join(rows)))
