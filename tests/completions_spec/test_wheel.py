"""The wheel in a clean environment that also has a foreign package `api`.

The dependencies are those of this environment, added to the import path. Nothing is downloaded.
"""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.lane

ROOT = Path(__file__).parents[2]
FOREIGN = "NAME = 'foreign'\n"
CHECKS = ["--only", "top_p/range", "--only", "prompt/integral-float", "--only", "stream/*"]


def run(command: list[str | Path], directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=500
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    directory = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", directory]
    result = run([sys.executable, "-m", "pip", "wheel", *options, ROOT], directory)
    assert result.returncode == 0, result.stderr
    [path] = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel next to a foreign package, and return the folder of the commands."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory)
    python = directory / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    result = run([*pip, wheel], directory)
    assert result.returncode == 0, result.stderr
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(directory)}))
    (packages / "api").mkdir()
    (packages / "api/__init__.py").write_text(FOREIGN)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@contextmanager
def serving(binaries: Path, directory: Path, backend: str) -> Iterator[str]:
    """Run the installed server; yield the base URL of its API."""
    command = [binaries / "completions-spec", "serve", "--backend", backend, "--port", "0"]
    with subprocess.Popen(
        [*command, "--slots", "2", "--explain"], cwd=directory, stdout=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stdout is not None
            [address] = [w for w in started.stdout.readline().split() if w.startswith("http")]
            yield address.removesuffix("/completions")
        finally:
            started.terminate()


def test_wheel_has_one_top_level_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"completions_spec"}
    packages = "completions_spec/packages"
    for file in (
        "reference/embedded/text/model.safetensors",
        "reference/embedded/vision/model.safetensors",
        "conformance/reports/page.html.jinja",
        "explain/static/page.js",
        "explain/decisions/0001-order-of-the-steps.md",
        "vectors/wide.safetensors",
        "benchmarks/http/__main__.py",
    ):
        assert f"{packages}/{file}" in names
    assert not [name for name in names if "tests/" in name or "__pycache__" in name]


def test_wheel_has_the_files_of_the_repository(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    command: list[str | Path] = [
        "git",
        "ls-files",
        "reference",
        "jax_backend",
        "api",
        "explain",
        "conformance",
        "vectors",
        "benchmarks/http",
    ]
    tracked = run(command, ROOT).stdout.split()
    missing = [name for name in tracked if f"completions_spec/packages/{name}" not in names]
    assert tracked and not missing


@pytest.mark.parametrize("backend", ["reference", "jax"])
def test_installed_commands(binaries: Path, tmp_path: Path, backend: str) -> None:
    command = binaries / "completions-spec"
    with serving(binaries, tmp_path, backend) as url:
        checked = run(
            [command, "conformance", "run", url, "--model", "tiny-text", *CHECKS], tmp_path
        )
        options = ["--workload", "single", "--rounds", "1", "--scale", "0.1"]
        measured = run([command, "bench", f"engine={url}", *options], tmp_path)
        root = url.removesuffix("v1/openai")
        page, specification = (
            urlopen(root + path).read().decode() for path in ("", "explain/specification.json")
        )
    assert "How a token is chosen" in page and "Truncation keeps levels" in specification
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert measured.returncode == 0 and "engine" in measured.stdout, measured.stderr


def test_installed_vectors(binaries: Path, tmp_path: Path) -> None:
    vectors: list[str | Path] = [binaries / "completions-spec", "conformance", "vectors"]
    exported = run([*vectors, "export", "out"], tmp_path)
    assert exported.returncode == 0 and (tmp_path / "out/top_k.jsonl").is_file(), exported.stderr
    (tmp_path / "sampler.py").write_text(
        "import json, sys\nfor line in sys.stdin:\n"
        "    print(json.dumps({'id': json.loads(line)['id'], 'kept': []}))\n"
    )
    checked = run([*vectors, "check", "python3 sampler.py", "--only", "top_k"], tmp_path)
    assert checked.returncode == 1 and "FAIL" in checked.stdout, checked.stderr


def test_foreign_package_keeps_its_name(binaries: Path, tmp_path: Path) -> None:
    code = "import api, completions_spec; print(api.NAME, completions_spec.__file__)"
    result = run([binaries / "python", "-c", code], tmp_path)
    assert result.stdout.startswith("foreign ") and str(binaries.parent) in result.stdout


def test_module_runs_like_the_command(binaries: Path, tmp_path: Path) -> None:
    module: list[str | Path] = [binaries / "python", "-m", "completions_spec"]
    results = [run([*c, "--version"], tmp_path) for c in (module, [binaries / "completions-spec"])]
    assert [r.returncode for r in results] == [0, 0]
    assert results[0].stdout == results[1].stdout != ""
    explained = run(
        [*module, "explain", "Once upon", "--max-tokens", "1", "--temperature", "0.5"], tmp_path
    )
    assert explained.returncode == 0 and "temperature" in explained.stdout, explained.stderr
