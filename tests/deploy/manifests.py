"""The objects that kustomize renders."""

import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("base", "gpu", "tpu")
Manifest = dict[str, Any]


@cache
def render(overlay: str) -> str:
    """Render an overlay. Raises CalledProcessError if kustomize refuses it."""
    kubectl = Path(sysconfig.get_path("scripts"), "kubectl")
    command = [kubectl, "kustomize", KUBERNETES / overlay]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def manifests(overlay: str) -> dict[str, Manifest]:
    """Return the objects of an overlay by kind. Each kind occurs once."""
    objects = list(yaml.safe_load_all(render(overlay)))
    by_kind = {manifest["kind"]: manifest for manifest in objects}
    assert len(by_kind) == len(objects)
    return by_kind


def pod_template(overlay: str) -> Manifest:
    template: Manifest = manifests(overlay)["Deployment"]["spec"]["template"]
    return template


def container(overlay: str) -> Manifest:
    [result] = pod_template(overlay)["spec"]["containers"]
    assert isinstance(result, dict)
    return result


def drain_timeout(overlay: str) -> float:
    """Return the argument --drain-timeout of the server, in seconds."""
    [value] = [a for a in container(overlay)["args"] if a.startswith("--drain-timeout=")]
    return float(value.partition("=")[2])
