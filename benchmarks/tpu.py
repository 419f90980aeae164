"""Large models on TPUs, by ahead-of-time cross-compilation: the engine's steps, compiled for TPU
slices by libtpu on a machine without a TPU.

    make tpu        # writes docs/tpu.md
"""

import argparse
import math
import os
import re
from pathlib import Path

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from benchmarks.cross_compilation import (
    GIB,
    Case,
    Chip,
    Compiled,
    Program,
    check,
    compile_steps,
    compiling_on,
    program_of,
    table_row,
    write_page,
)
from jax_backend.model import sharding

# Environment variables that libtpu reads on a Google Cloud machine.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}

# Source: cloud.google.com/tpu/docs, the page of each version.
CHIPS = {
    "v5e": Chip(memory=16 * GIB, bandwidth=819e9, operations=197e12),
    "v5p": Chip(memory=95 * GIB, bandwidth=2765e9, operations=459e12),
    "v6e": Chip(memory=32 * GIB, bandwidth=1638e9, operations=918e12),
}

CASES = (
    Case(shape="Llama-2-7B", devices="v5e:2x4"),
    Case(shape="Llama-2-70B", devices="v5p:2x2x1"),
    Case(shape="Llama-2-70B", devices="v6e:2x4"),
    Case(shape="Llama-3.1-8B", devices="v6e:2x4", slots=128, cache=8),
    Case(shape="Llama-3.1-70B", devices="v6e:2x4", slots=32, cache=2),
)


def slice_mesh(topology: str) -> Mesh:
    """Return a mesh of the devices of a slice, which need not exist here, in the engine's order."""
    os.environ |= ENVIRONMENT
    description = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    mesh = sharding.make_mesh(len(description.devices), description.devices)
    assert mesh is not None
    return mesh


def chip_of(case: Case) -> Chip:
    return CHIPS[case.devices.partition(":")[0]]


def compile_case(case: Case) -> tuple[Program, list[Compiled]]:
    """Compile the decode step and a prefill launch, for one model on one slice."""
    mesh = slice_mesh(case.devices)
    with compiling_on("tpu", mesh):
        program = program_of(case, mesh)
        return program, compile_steps(program, chip_of(case))


def estimate(compiled: Compiled) -> float:
    """Return XLA's estimate in seconds. Each instruction that it does not know counts −1."""
    return compiled.cost["optimal_seconds"] % 1


ARRAY = re.compile(r"(pred|s8|u8|bf16|f16|s32|u32|f32)\[([\d,]*)\](\{[^}]*\})?")
ITEM_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}
INSTRUCTION = re.compile(r"^ +(?:ROOT )?%(\S+) = (\(.*?\)|\S+) ([a-z][a-z-]*)\((.*?)\)(?:,|$)")
FREE = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant"}
IN_VECTOR_MEMORY = "S(1)"


def traffic(text: str, cache: set[str]) -> float:
    """Return the bytes that a compiled step reads from and writes to the memory of a device, from
    the shapes of its instructions. cache: shapes of arrays that are updated in place, and not
    counted.

    An asynchronous copy to the vector memory reads its source once. XLA's estimate counts source
    and destination, at the start and at the end of the copy, and then the operand of the product.
    """
    total, types = 0.0, {}
    for line in text[text.index("\nENTRY ") :].splitlines():
        match = INSTRUCTION.match(line)
        if match is None:
            continue
        name, types[match[1]], opcode, operands = match[1], *match.groups()[1:]
        if opcode in FREE or opcode.endswith("-done"):
            continue
        arrays = [types[name]]
        if '/gather"' not in line:  # which reads a few rows of a table
            arrays += [types.get(operand, "") for operand in re.findall(r"%([\w.-]+)", operands)]
        sizes = [
            (array_bytes(*array[:2]), IN_VECTOR_MEMORY in array[2])
            for array in ARRAY.findall(" ".join(arrays))
            if array[1] not in cache
        ]
        if opcode in ("copy-start", "slice-start"):
            moved = [size for size in sizes if size[0] > 8]  # without the semaphore
            if any(is_vector for _, is_vector in moved):
                total += min(size for size, _ in moved)
            continue
        total += sum(size for size, is_vector in sizes if not is_vector)
    return total


def array_bytes(kind: str, shape: str) -> int:
    return ITEM_BYTES[kind] * math.prod(int(n) for n in shape.split(",") if n)


def cache_shapes(program: Program) -> set[str]:
    """Return the shapes of the KV cache on a device, as the compiler writes them."""
    leaves = jax.tree.leaves(program.layers)
    return {",".join(map(str, leaf.sharding.shard_shape(leaf.shape))) for leaf in leaves}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpu", description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="the page to write; by default the table is printed"
    )
    options = parser.parse_args()
    rows = []
    for case in CASES:
        program, steps = compile_case(case)
        for compiled in steps:
            moving = traffic(compiled.text, cache_shapes(program)) / chip_of(case).bandwidth
            more = (f"{1e3 * seconds:.2f} ms" for seconds in (estimate(compiled), moving))
            rows.append(table_row(case, chip_of(case), compiled, *more))
            print(rows[-1], f"compiled in {compiled.compile_time:.0f} s", flush=True)
            check(case, chip_of(case), compiled)
    write_page(Path(__file__).with_name("tpu.md.in"), rows, options.out)


if __name__ == "__main__":
    main()
