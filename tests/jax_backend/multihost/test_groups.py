"""Answers of several processes: bit for bit those of one process with the same mesh."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.parity.harness.twins import SMALL, saved_checkpoint
from tests.goldens import GOLDENS
from tests.jax_backend.multihost.ports import free_ports

pytestmark = pytest.mark.lane

THREE = SMALL | {
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 4,
    "max_position_embeddings": 512,
}


@pytest.fixture(scope="module")
def three_heads() -> Iterator[Path]:
    with saved_checkpoint(0, THREE) as directory:
        yield directory


def run_group(directory: Path, count: int, devices: int) -> list[Any]:
    """Run a group of processes, and return what each has printed."""
    port = free_ports(3)
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.jax_backend.multihost.process", str(directory)),
                *map(str, (rank, count, devices, port)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        outputs = [process.communicate(timeout=420)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * count, outputs
    return [json.loads(output.splitlines()[-1]) for output in outputs]


@pytest.mark.parametrize(
    ("name", "count", "devices"),
    [("gqa", 2, 1), ("three", 3, 1), ("gqa", 2, 4), ("llava_before", 2, 1)],
    ids=["two", "three", "two-with-four-devices", "images"],
)
def test_group_answers_as_one_process(
    name: str, count: int, devices: int, three_heads: Path
) -> None:
    directory = three_heads if name == "three" else GOLDENS / name
    (alone,) = run_group(directory, 1, count * devices)
    processes = run_group(directory, count, devices)
    check_group(processes)
    assert processes[0]["answers"] == alone["answers"]
    assert name == "llava_before" or alone["answers"][-1] == "preempted True"


def check_group(processes: list[Any]) -> None:
    """Check that the workload ran to its end, without compilation or different plans."""
    leader, *followers = processes
    assert len(leader["answers"]) >= 29
    assert all(follower["failed"] == [False, False] for follower in followers)
    assert not any(process["compiled"] for process in processes)
