"""Large models on TPUs, by ahead-of-time cross-compilation: the engine's steps, compiled for TPU
slices by libtpu on a machine without a TPU.

    make tpu        # writes docs/tpu.md
"""

import argparse
import os
from pathlib import Path

from jax.experimental import topologies
from jax.sharding import Mesh

from benchmarks.cross_compilation import (
    GIB,
    Case,
    Chip,
    Compiled,
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


def compile_case(case: Case) -> list[Compiled]:
    """Compile the decode step and a prefill launch, for one model on one slice."""
    mesh = slice_mesh(case.devices)
    with compiling_on("tpu", mesh):
        return compile_steps(program_of(case, mesh), chip_of(case))


def estimate(compiled: Compiled) -> float:
    """Return XLA's estimate in seconds. Each kernel that it does not know counts −1."""
    return compiled.cost["optimal_seconds"] % 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpu", description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="the page to write; by default the table is printed"
    )
    options = parser.parse_args()
    rows = []
    for case in CASES:
        for compiled in compile_case(case):
            cell = f"{1e3 * estimate(compiled):.2f} ms"
            rows.append(table_row(case, chip_of(case), compiled, cell))
            print(rows[-1], f"compiled in {compiled.compile_time:.0f} s", flush=True)
            check(case, chip_of(case), compiled)
    write_page(Path(__file__).with_name("tpu.md.in"), rows, options.out)


if __name__ == "__main__":
    main()
