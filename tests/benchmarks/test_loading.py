"""Sparse checkpoints, and the shards of one device."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import loading
from benchmarks.shapes import SHAPES


@pytest.mark.parametrize("quantization", [None, loading.INT8])
def test_share_of_a_single_device(tmp_path: Path, quantization: Any) -> None:
    total = loading.write(tmp_path, SHAPES["tiny"], quantization)
    files = list(tmp_path.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) > total
    assert sum(path.stat().st_blocks for path in files) * 512 < total
    whole, half = (loading.read_shards(tmp_path, tp) for tp in (1, 2))
    assert total / 2 <= half < 0.51 * whole


def test_peak_is_measured() -> None:
    with loading.peak_memory() as peak:
        array = b"x" * 2**26
        loading.threading.Event().wait(20 * loading.SAMPLE_SECONDS)
        assert len(array) == 2**26
    assert 0.9 * 2**26 < peak() < 2**28
