"""Large models on GPUs, by ahead-of-time cross-compilation: the engine's steps, compiled by XLA's
CUDA plugin on a machine without a GPU and without a driver.

    make gpu        # writes docs/gpu.md
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jax.experimental import topologies
from jax.sharding import Mesh

from benchmarks.cross_compilation import (
    Case,
    Chip,
    Compiled,
    check,
    compile_one,
    compiling_on,
    program_of,
    table_row,
    write_page,
)
from jax_backend.model import sharding
from jax_backend.model.attention.select import gpu_attention

# The plugin compares its versions with those of CUDA's libraries, of which only a part is needed.
ENVIRONMENT = {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}
HOPPER = (9, 0)

# Source: the data sheets of H100 SXM and H200 SXM; operations without sparsity.
CHIPS = {
    "H100": Chip(memory=80e9, bandwidth=3.35e12, operations=989e12),
    "H200": Chip(memory=141e9, bandwidth=4.8e12, operations=989e12),
}
# GpuTargetConfigProto: limits of a multiprocessor as in XLA's own configuration of an H200.
TARGET = """
gpu_device_info {{
  cuda_compute_capability {{ major: 9 }}
  core_count: 132  fpus_per_core: 128  clock_rate_ghz: 1.98
  threads_per_warp: 32  threads_per_block_limit: 1024  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472  l2_cache_size: 52428800
  memory_bandwidth: {bandwidth:.0f}  device_memory_size: {memory:.0f}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "NVIDIA {name}"
"""


@dataclass(frozen=True, kw_only=True)
class GpuCase(Case):
    """A model on GPUs, "2x H100" for example. attention: of a GPU."""

    attention: str = "triton"

    @property
    def chip_name(self) -> str:
        return self.devices.partition("x ")[2]

    @property
    def tp(self) -> int:
        return int(self.devices.partition("x ")[0])


CASES = (
    GpuCase(shape="Llama-2-7B", devices="1x H200"),
    GpuCase(shape="Llama-2-7B", devices="1x H200", attention="xla"),
    GpuCase(shape="Llama-3.1-8B", devices="1x H200", slots=128, cache=6),
    GpuCase(shape="Llama-2-70B", devices="4x H100"),
    GpuCase(shape="Llama-3.1-70B", devices="8x H200", slots=128, cache=8),
)
# Launches that a further layer of Llama-3.1-8B adds on two GPUs, by attention and step.
KERNELS_PER_LAYER = {
    "triton": {"decode": 15.5, "prefill": 14.5},
    "mosaic": {"decode": 15.5, "prefill": 14.5},
    "xla": {"decode": 26.5, "prefill": 26.5},
}
KERNELS_TOLERANCE = 2.0  # between versions of JAX


def gpu_mesh(case: GpuCase) -> Mesh:
    """Return a mesh of GPUs, which need not exist here."""
    os.environ |= ENVIRONMENT
    chip = CHIPS[case.chip_name]
    description = topologies.get_topology_desc(
        platform="cuda",
        target_config=TARGET.format(name=case.chip_name, **vars(chip)),
        topology=f"1x1x{case.tp}",
    )
    mesh = sharding.make_mesh(case.tp, description.devices)
    return Mesh(description.devices, (sharding.TP,)) if mesh is None else mesh


def compile_case(case: GpuCase) -> dict[str, Compiled]:
    """Compile the decode step and a prefill launch, by name, for one model on some GPUs."""
    mesh, chip = gpu_mesh(case), CHIPS[case.chip_name]
    with compiling_on("cuda", mesh):
        program = program_of(case, mesh, gpu_attention(case.attention, HOPPER))
        return {
            "decode": compile_one(
                f"decode, {case.slots} sequences",
                program.decode(),
                program.roofline(case.slots, chip),
            ),
            "prefill": compile_one(
                f"prefill, {case.chunk} tokens",
                program.prefill(),
                program.roofline(case.chunk, chip),
            ),
        }


COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.$-]+) \(.*\{$")
INSTRUCTION = re.compile(r"^ +(?:ROOT )?%?[\w.$-]+ = (?:\(.*?\)|\S+) ([a-z][a-z0-9-]*)\(")
CALLED = re.compile(r"(?:to_apply|body|condition|calls)=%?([\w.$-]+)|branch_computations=\{(.*?)\}")
CALLING = {"call", "while", "conditional", "async-start"}
# Instructions that launch nothing.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
FREE |= {"partition-id", "replica-id", "opt-barrier", "async-done", "async-update"}


def launches(text: str) -> Counter[str]:
    """Count what a compiled program launches, by opcode: kernels, copies and collectives. The body
    of a loop counts once.
    """
    computations: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if match := COMPUTATION.match(line):
            lines = computations[match[1]] = []
            entry = match[1] if line.startswith("ENTRY") else entry
        else:
            lines.append(line)
    return Counter(walk(computations, entry))


def walk(computations: dict[str, list[str]], name: str) -> Iterator[str]:
    """Yield the opcode of each launch of a computation and of those that it calls."""
    for line in computations[name]:
        match = INSTRUCTION.match(line)
        if match is None or match[1] in FREE or match[1].endswith("-done"):
            continue
        if match[1] not in CALLING:
            yield match[1].removesuffix("-start")
            continue
        for single, several in CALLED.findall(line):
            for called in [single] if single else several.replace("%", "").split(", "):
                yield from walk(computations, called)


def kernels_per_layer(case: GpuCase, step: str) -> float:
    """Return how many launches a further layer adds, without collectives."""
    counts = [launches(compile_case(replace(case, layers=layers))[step].text) for layers in (2, 4)]
    few, many = (sum(n for kind, n in c.items() if not kind.startswith("all-")) for c in counts)
    return (many - few) / 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="the page to write; by default the table is printed"
    )
    options = parser.parse_args()
    rows = []
    for case in CASES:
        chip, layers = CHIPS[case.chip_name], case.config.num_hidden_layers
        for compiled in compile_case(case).values():
            kernels = sum(n for k, n in launches(compiled.text).items() if "all-" not in k)
            more = case.attention, f"{kernels / layers:.1f}"
            rows.append(table_row(case, chip, compiled, *more))
            print(rows[-1], f"compiled in {compiled.compile_time:.0f} s", flush=True)
            check(case, chip, compiled)
    write_page(Path(__file__).with_name("gpu.md.in"), rows, options.out)


if __name__ == "__main__":
    main()
