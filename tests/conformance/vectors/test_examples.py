"""The programs in `examples/vectors`, built and run by `vectors check`."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from conformance.__main__ import main

pytestmark = pytest.mark.lane

EXAMPLES = Path(__file__).parents[3] / "examples/vectors"
DEBIAN_CRATES = Path("/usr/share/cargo/registry")
STEPS = {
    "mask",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "temperature",
    "min_p",
    "top_k",
    "top_p",
    "chain",
    "wide",
    "threefry",
    "gumbel",
    "draw",
    "distribution",
    "logprobs",
}
TEXT = {"stop", "finish", "budget", "detokenization"}


def build(command: list[str], directory: Path) -> None:
    """Run a compiler. Skip the test if a library is not installed."""
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=500)
    missing = ("json.hpp: No such file", "no matching package", "failed to download", "offline")
    if result.returncode and any(text in result.stderr for text in missing):
        pytest.skip(f"{command[0]}: {result.stderr.strip().splitlines()[0]}")
    assert result.returncode == 0, result.stderr


def require(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def check(command: str, families: set[str], tmp_path: Path) -> None:
    """Require that a program passes every case of its families, and supports no others."""
    out = tmp_path / "out.json"
    assert main(["vectors", "check", command, "--json", str(out), "--timeout", "300"]) == 0
    results = json.loads(out.read_text())["results"]
    verdicts = Counter(r["verdict"] for r in results if r["parameter"] in families)
    assert set(verdicts) == {"PASS"}
    supported = {r["parameter"] for r in results if r["verdict"] != "UNSUPPORTED"}
    assert supported == families


def test_cpp(tmp_path: Path) -> None:
    program = tmp_path / "sampler"
    options = ["-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror"]
    build(
        [require("g++"), *options, str(EXAMPLES / "cpp/sampler.cpp"), "-o", str(program)], tmp_path
    )
    check(str(program), STEPS | TEXT, tmp_path)


def test_rust(tmp_path: Path) -> None:
    """Use the crates of Debian's librust-serde-json-dev, or those that cargo has already."""
    shutil.copytree(EXAMPLES / "rust", tmp_path / "rust")
    command = [require("cargo"), "build", "--release", "--offline"]
    if DEBIAN_CRATES.is_dir():
        command += ["--config", 'source.crates-io.replace-with="debian"']
        command += ["--config", f'source.debian.directory="{DEBIAN_CRATES}"']
    build(command, tmp_path / "rust")
    check(str(tmp_path / "rust/target/release/sampler"), STEPS | TEXT, tmp_path)


def test_javascript(tmp_path: Path) -> None:
    program = shlex.join([require("node"), str(EXAMPLES / "javascript/sampler.mjs")])
    check(program, STEPS | TEXT, tmp_path)


def test_pytorch(tmp_path: Path) -> None:
    """Use the Python of TORCH_PYTHON, or this one: torch is not a dependency of the project."""
    python = os.environ.get("TORCH_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
        pytest.skip("torch is not installed; TORCH_PYTHON names a Python that has it")
    check(shlex.join([python, str(EXAMPLES / "pytorch/sampler.py")]), STEPS, tmp_path)
