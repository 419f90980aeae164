"""The image of the Dockerfile, and pods that run it."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reference.bundle import EMBEDDED
from tests.deploy.clients import API_KEY
from tests.deploy.image import Builder, Image, base_version, interpreter
from tests.deploy.kubelet import wait_until_started
from tests.deploy.manifests import ROOT, pod_template
from tests.deploy.pod import Pod

DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"


def unavailable(reason: str) -> None:
    """Skip on a machine that cannot run the test, and fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Builder]:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        unavailable("namespaces require root and util-linux")
    python = interpreter(base_version(DOCKERFILE))
    if python is None:
        unavailable(f"Python {base_version(DOCKERFILE)} is required")
    assert python is not None
    folder = tmp_path_factory.mktemp("images")
    return lambda name, **arguments: Builder(ROOT, folder / name, python, **arguments)


@pytest.fixture(scope="session")
def image(builder: Callable[..., Builder]) -> Image:
    return builder("cpu").build(DOCKERFILE)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the volume with the compiled programs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def make_pod(
    image: Image, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Pod]]:
    """Return a function that creates a pod of the base manifests. All are killed at the end."""
    pods: list[Pod] = []

    def make(**options: Any) -> Pod:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        claims = {"completions-model": EMBEDDED / "text", "completions-cache": cache}
        secrets = {"completions-api-keys": {"keys": API_KEY}}
        claims.update(options.pop("claims", {}))
        pod = Pod(
            pod_template("base"),
            image,
            folder=tmp_path_factory.mktemp("pod"),
            claims=claims,
            secrets=options.pop("secrets", secrets),
            port=port,
        )
        assert not options
        pods.append(pod)
        return pod

    yield make
    for pod in pods:
        pod.kill()


@pytest.fixture(scope="session")
def started_pod(make_pod: Callable[..., Pod]) -> Pod:
    """Return a ready pod that no test ends."""
    pod = make_pod()
    pod.start()
    wait_until_started(pod)
    return pod


@pytest.fixture
def new_pod(make_pod: Callable[..., Pod]) -> Iterator[Pod]:
    """Yield a ready pod for one test."""
    pod = make_pod()
    pod.start()
    wait_until_started(pod)
    yield pod
    pod.kill()
