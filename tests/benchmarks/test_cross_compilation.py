"""Compiled programs of devices that are not present: figures of the text, and in the lanes limits
on collectives and launches per layer.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu, tpu
from benchmarks.cross_compilation import GIB, SHAPES, Case, Chip, Compiled, check, table_row
from reference.model.config import LlamaConfig

ROOT = Path(__file__).parents[2]

GPU_PROGRAM = """HloModule jit_forward

%fused (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %a = f32[4]{0} add(%p, %p)
}

%body (t: (s32[], f32[4])) -> (s32[], f32[4]) {
  %t = (s32[], f32[4]{0}) parameter(0)
  %x = f32[4]{0} get-tuple-element(%t), index=1
  %f = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused
  %c = f32[4]{0} copy(%f)
  ROOT %r = (s32[], f32[4]{0}) tuple(%t, %c)
}

%condition (t: (s32[], f32[4])) -> pred[] {
  %t = (s32[], f32[4]{0}) parameter(0)
  ROOT %p = pred[] fusion(%t), kind=kLoop, calls=%fused
}

%command_buffer (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  ROOT %k = (f32[4]{0}, u8[8]{0}) custom-call(%x), custom_call_target="__cublas$gemm"
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %w = (s32[], f32[4]{0}) while(%a), condition=%condition, body=%body
  %k = f32[4]{0} call(%w), to_apply=%command_buffer
  %s = f32[4]{0} all-reduce-start(%k), channel_id=1, to_apply=%fused
  %d = f32[4]{0} all-reduce-done(%s)
  %b = f32[2,2]{1,0} bitcast(%d)
  ROOT %f = f32[4]{0} fusion(%b), kind=kLoop, calls=%fused
}
"""


def test_launches_are_counted_in_called_computations() -> None:
    """The content of a fusion is one launch; the end of a collective is none."""
    counts = {"fusion": 3, "copy": 1, "custom-call": 1, "all-reduce": 1}
    assert gpu.launches(GPU_PROGRAM) == counts


TPU_PROGRAM = """HloModule jit_forward

ENTRY %main (w: bf16[64,16], x: bf16[8,16], kv: bf16[9,4,2,128]) -> bf16[8,64] {
  %w = bf16[64,16]{1,0:T(8,128)(2,1)} parameter(0)
  %x = bf16[8,16]{1,0:T(8,128)(2,1)S(1)} parameter(1)
  %kv = bf16[9,4,2,128]{3,2,1,0} parameter(2)
  %s = (bf16[64,16]{1,0:T(8,128)(2,1)S(1)}, bf16[64,16]{1,0}, u32[]{:S(2)}) copy-start(%w), x=1
  %d = bf16[64,16]{1,0:T(8,128)(2,1)S(1)} copy-done(%s)
  %u = bf16[9,4,2,128]{3,2,1,0} fusion(%kv, %x), kind=kLoop, calls=%scatter
  %g = bf16[8,16]{1,0:S(1)} fusion(%w), calls=%g, metadata={op_name="jit(forward)/gather" id=1}
  %y = bf16[8,64]{1,0:T(8,128)(2,1)} fusion(%d, %x), kind=kOutput, calls=%dot
  ROOT %r = bf16[8,64]{1,0:T(8,128)(2,1)} copy(%y), metadata={op_name="jit(forward)/reshape"}
}
"""


def test_traffic_counts_a_copy_ahead_once() -> None:
    """The copy of w reads 2 KiB, the product writes 1 KiB, the last copy reads and writes it."""
    assert tpu.traffic(TPU_PROGRAM, {"9,4,2,128"}) == 2048 + 1024 + 2 * 1024
    assert tpu.traffic(TPU_PROGRAM, set()) == 5120 + 2 * 2 * 9 * 4 * 2 * 128  # the cache twice


def compiled(collectives: dict[str, int], memory: float = GIB) -> Compiled:
    """Return a program with these collectives, each of which appears twice in the text."""
    kinds = [kind for kind, count in collectives.items() for _ in range(count)]
    lines = [f"  %c = f32[] {kind}(%x), channel_id={i}" for i, kind in enumerate(kinds)]
    return Compiled(
        name="decode",
        memory=memory,
        roofline=1.0,
        text="\n".join(lines * 2),
        cost={},
        compile_time=0,
    )


CHIP = Chip(memory=2 * GIB, bandwidth=1e9, operations=1e12)
CASE = Case(shape="Llama-2-7B", devices="v5e:2x4", layers=4)


def test_expected_collectives_pass() -> None:
    check(CASE, CHIP, compiled({"all-reduce": 9, "all-gather": 1}))
    check(CASE, CHIP, compiled({}))
    row = table_row(CASE, CHIP, compiled({"all-reduce": 9, "all-gather": 1}), "more")
    assert "1.0 of 2 GiB | 1 all-gather, 9 all-reduce | more | 1000.00 ms |" in row


@pytest.mark.parametrize(
    ("collectives", "memory"),
    [
        ({"all-reduce": 10}, GIB),
        ({"all-gather": 2}, GIB),
        ({"all-to-all": 1}, GIB),
        ({"reduce-scatter": 1}, GIB),
        ({}, 3 * GIB),
    ],
)
def test_regression_fails(collectives: dict[str, int], memory: float) -> None:
    with pytest.raises(SystemExit, match="Llama-2-7B on v5e:2x4: decode: (does not|unexpected)"):
        check(CASE, CHIP, compiled(collectives, memory))


def test_shapes_are_valid() -> None:
    for shape in SHAPES:
        config = Case(shape=shape, devices="").config
        assert isinstance(config, LlamaConfig)
        assert config.max_position_embeddings == (131072 if "3.1" in shape else 4096)


def compile_in_process(module: str, folder: str, code: str) -> dict[str, float]:
    """Run code in a process with the compiler of another device, and return what it prints. Skips
    the test if the compiler is not installed.
    """
    if not (ROOT / folder / "ready").exists():
        pytest.skip(f"no compiler in {folder}: make {module}")
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": folder, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    values: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return values


GPU_CODE = """
import json
from benchmarks import gpu
from benchmarks.cross_compilation import check
case = gpu.GpuCase(
    shape="Llama-3.1-8B", devices="2x H200", slots=32, cache=1, layers=2, attention={0!r}
)
chip = gpu.CHIPS[case.chip_name]
for compiled in gpu.compile_case(case).values():
    check(case, chip, compiled)
print(json.dumps({{step: gpu.kernels_per_layer(case, step) for step in ("decode", "prefill")}}))
"""


@pytest.mark.lane
@pytest.mark.parametrize("attention", sorted(gpu.KERNELS_PER_LAYER))
def test_launches_per_layer_on_a_gpu(attention: str) -> None:
    counts = compile_in_process("gpu", ".venv-gpu", GPU_CODE.format(attention))
    assert counts == pytest.approx(gpu.KERNELS_PER_LAYER[attention], abs=gpu.KERNELS_TOLERANCE)


TPU_CODE = """
import json
from benchmarks import tpu
from benchmarks.cross_compilation import Case, check
case = Case(shape="Llama-3.1-8B", devices="v6e:2x4", slots=128, cache=8, layers=2)
program, steps = tpu.compile_case(case)
for compiled in steps:
    check(case, tpu.chip_of(case), compiled)
moved = tpu.traffic(steps[0].text, tpu.cache_shapes(program))
print(json.dumps({"page_size": program.page_size, "traffic": moved / program.weight_bytes}))
"""


@pytest.mark.lane
def test_long_context_compiles_for_a_tpu() -> None:
    """128 sequences of 131,072 tokens. A weight is read once."""
    values = compile_in_process("tpu", ".venv-tpu", TPU_CODE)
    assert values["page_size"] == 128 and values["traffic"] < 1.5
