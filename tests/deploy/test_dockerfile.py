"""The build context, and the image."""

import subprocess
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.conftest import DOCKERFILE
from tests.deploy.image import Builder, Image, build_context
from tests.deploy.manifests import ROOT, container, pod_template

pytestmark = pytest.mark.lane

LIST_PACKAGES = """
from importlib.metadata import distributions
for distribution in distributions():
    print(f"{distribution.name}=={distribution.version}")
"""
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WHEEL = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]


def test_dockerfile_follows_hadolint() -> None:
    command = [Path(sysconfig.get_path("scripts"), "hadolint"), DOCKERFILE]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_hadolint_refuses_unpinned_image(tmp_path: Path) -> None:
    broken = tmp_path / "Dockerfile"
    broken.write_text(DOCKERFILE.read_text().replace("python:3.12-slim", "python:latest"))
    command = [Path(sysconfig.get_path("scripts"), "hadolint"), broken]
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_build_context_is_what_wheel_needs() -> None:
    context = build_context(ROOT)
    folders = {path.split("/")[0] for path in context if "/" in path}
    assert folders == {path.split("/")[0] for path in WHEEL["only-include"]}
    assert {p for p in context if "/" not in p} == {
        "README.md",
        "pyproject.toml",
        "requirements.lock",
    }
    assert not [p for p in context if "__pycache__" in p]
    assert "reference/embedded/text/model.safetensors" in context


def test_image_contains_no_source_and_no_tools(image: Image) -> None:
    names = {path.name for path in image.root.iterdir()}
    assert "src" not in names and "dist" not in names
    assert not list(image.root.glob("opt/venv/lib/python*/site-packages/pip"))
    assert not list(image.root.glob("opt/venv/lib/python*/site-packages/pytest"))


def test_image_user_is_that_of_pods(image: Image) -> None:
    context = pod_template("base")["spec"]["securityContext"]
    assert image.user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert image.user in (image.root / "etc/passwd").read_text()


def test_image_agrees_with_manifest(image: Image) -> None:
    server = container("base")
    assert [port["containerPort"] for port in server["ports"]] == list(image.ports)
    paths = {mount["mountPath"] for mount in server["volumeMounts"]}
    assert set(image.volumes) | {image.env["JAX_COMPILATION_CACHE_DIR"]} <= paths


def test_image_runs_locked_versions(image: Image) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    status, text = image.run("python", "-c", LIST_PACKAGES)
    installed = [line for line in text.lower().splitlines() if "completions" not in line]
    assert status == 0 and len(installed) > 20
    locked = {line.split(" ;")[0].replace("-", "_") for line in lock.lower().splitlines()}
    assert not [d for d in installed if d.replace("-", "_") not in locked]


def test_entry_point_shows_help(image: Image) -> None:
    status, text = image.run(*image.entrypoint, "--help")
    assert status == 0 and "--served-model-name" in text


def test_server_without_keys_is_refused(image: Image) -> None:
    """The host is public in the image."""
    status, text = image.run(*image.entrypoint)
    assert status == 2 and "--api-key" in text


def test_missing_model_is_reported(image: Image) -> None:
    status, text = image.run(*image.entrypoint, "--host", "127.0.0.1", "--model", "/model")
    assert status == 2 and text.startswith("error: ") and "/model" in text


def test_unknown_extra_is_refused(
    builder: Callable[..., Builder], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        builder("unknown", EXTRA="cuda").build(DOCKERFILE)
    assert "No module named 'jax'" in capsys.readouterr().err


@pytest.mark.parametrize(("extra", "plugin"), [("cuda13", "jax-cuda13-plugin"), ("tpu", "libtpu")])
def test_extra_selects_accelerator(
    extra: str, plugin: str, builder: Callable[..., Builder], tmp_path: Path
) -> None:
    """Resolve the packages of an accelerator, without downloading gigabytes."""
    resolved = tmp_path / "Dockerfile"
    build, _, _ = DOCKERFILE.read_text().partition("RUN python -m venv")
    resolved.write_text(
        build + "RUN pip install --dry-run --quiet --report /report.json --constraint "
        "requirements.lock --constraint requirements-accelerators.lock "
        '"$(ls /dist/*.whl)[${EXTRA}]"\n'
    )
    image = builder(extra, EXTRA=extra).build(resolved)
    assert f'"name": "{plugin}"' in (image.root / "report.json").read_text()
