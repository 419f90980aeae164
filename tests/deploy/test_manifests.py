"""Schemas, selectors, security, timeouts and resources of the manifests."""

import copy
from typing import Any

import kubernetes_validate
import pytest

from api.app import create_app
from api.server import CLOSE_TIMEOUT
from tests.api.toy import toy_model
from tests.deploy.manifests import (
    OVERLAYS,
    Manifest,
    container,
    drain_timeout,
    manifests,
    pod_template,
)

pytestmark = [pytest.mark.lane, pytest.mark.parametrize("overlay", OVERLAYS)]

CUSTOM = {"PodMonitor": "monitoring.coreos.com/v1"}
COLD_COMPILE = 30 * 60  # seconds
VERSIONS = ("1.30", "1.37")  # the oldest with preStop.sleep, and a recent one
PROBES = {"startupProbe": "/live", "readinessProbe": "/ready", "livenessProbe": "/live"}


def test_manifests_match_kubernetes_schemas(overlay: str) -> None:
    for kind, manifest in manifests(overlay).items():
        if kind in CUSTOM:
            assert manifest["apiVersion"] == CUSTOM[kind]
        else:
            for version in VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)


def test_validator_refuses_unknown_field(overlay: str) -> None:
    deployment = copy.deepcopy(manifests(overlay)["Deployment"])
    [server] = deployment["spec"]["template"]["spec"]["containers"]
    server["livenesProbe"] = server.pop("livenessProbe")
    with pytest.raises(kubernetes_validate.ValidationError, match="livenesProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


def selectors(overlay: str) -> dict[str, dict[str, str]]:
    """Return the labels by which each kind selects pods."""
    specs = {kind: manifest.get("spec", {}) for kind, manifest in manifests(overlay).items()}
    selecting = {kind: spec["selector"] for kind, spec in specs.items() if "selector" in spec}
    return {kind: value.get("matchLabels", value) for kind, value in selecting.items()}


def test_selectors_match_pods(overlay: str) -> None:
    labels = pod_template(overlay)["metadata"]["labels"]
    assert set(selectors(overlay)) == {"Deployment", "Service", "PodDisruptionBudget", "PodMonitor"}
    for kind, selector in selectors(overlay).items():
        assert selector and selector.items() <= labels.items(), kind


def test_references_resolve(overlay: str) -> None:
    objects = manifests(overlay)
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    deployment = objects["Deployment"]
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert "replicas" not in deployment["spec"]  # or each `apply` would undo the autoscaler
    ports = {port["name"] for port in container(overlay)["ports"]}
    [service_port] = objects["Service"]["spec"]["ports"]
    [endpoint] = objects["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert {service_port["targetPort"], endpoint["port"]} <= ports
    volumes = pod_template(overlay)["spec"]["volumes"]
    mounted = [mount["name"] for mount in container(overlay)["volumeMounts"]]
    assert sorted(mounted) == sorted(volume["name"] for volume in volumes)
    cache = objects["PersistentVolumeClaim"]["metadata"]["name"]
    claims = [v["persistentVolumeClaim"] for v in volumes if "persistentVolumeClaim" in v]
    assert cache in {claim["claimName"] for claim in claims if not claim.get("readOnly")}


def test_paths_are_routes_of_server(overlay: str) -> None:
    served = toy_model()
    routes = {getattr(route, "path", "") for route in create_app([served]).routes}
    served.engine.close()
    [endpoint] = manifests(overlay)["PodMonitor"]["spec"]["podMetricsEndpoints"]
    for name, path in PROBES.items():
        assert container(overlay)[name]["httpGet"] == {"path": path, "port": "http"}
    assert {*PROBES.values(), endpoint["path"]} <= routes


def test_startup_probe_allows_cold_compile(overlay: str) -> None:
    probe = container(overlay)["startupProbe"]
    allowed = probe["periodSeconds"] * probe["failureThreshold"]
    assert allowed >= COLD_COMPILE
    assert manifests(overlay)["Deployment"]["spec"]["progressDeadlineSeconds"] > allowed


def test_grace_period_exceeds_drain(overlay: str) -> None:
    spec = pod_template(overlay)["spec"]
    before = container(overlay)["lifecycle"]["preStop"]["sleep"]["seconds"]
    after = drain_timeout(overlay) + CLOSE_TIMEOUT
    assert spec["terminationGracePeriodSeconds"] > before + after


def test_pods_are_restricted(overlay: str) -> None:
    """The restricted Pod Security Standard, and a read-only root file system."""
    spec = pod_template(overlay)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    pod: dict[str, Any] = spec["securityContext"]
    assert pod["runAsNonRoot"] is True and pod["runAsUser"] > 0 and pod["runAsGroup"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(overlay)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for name in "hostNetwork", "hostPID", "hostIPC":
        assert name not in spec
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"emptyDir", "persistentVolumeClaim"}


def test_keys_come_from_secret(overlay: str) -> None:
    """Without the Secret the container does not start: the reference is not optional."""
    [keys] = [v for v in container(overlay)["env"] if v["name"] == "COMPLETIONS_API_KEY"]
    reference = {"name": "completions-api-keys", "key": "keys"}
    assert keys["valueFrom"] == {"secretKeyRef": reference}
    assert not [
        a for a in container(overlay)["args"] if a.startswith(("--api-key", "--allow-open"))
    ]


def test_memory_is_reserved(overlay: str) -> None:
    resources = container(overlay)["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert "cpu" not in resources["limits"]  # throttling would delay the decoding steps


def accelerators(resources: Manifest) -> dict[str, str]:
    return {name: n for name, n in resources["limits"].items() if "/" in name}


def test_accelerators(overlay: str) -> None:
    server, spec = container(overlay), pod_template(overlay)["spec"]
    expected = {"base": {}, "gpu": {"nvidia.com/gpu": "1"}, "tpu": {"google.com/tpu": "8"}}
    tags = {"base": "cpu", "gpu": "cuda13", "tpu": "tpu"}
    assert accelerators(server["resources"]) == expected[overlay]
    assert server["image"] == f"completions-spec:{tags[overlay]}"
    tolerated = {toleration["key"] for toleration in spec.get("tolerations", [])}
    assert tolerated == set(expected[overlay])


def test_tpu_topology_agrees_with_mesh(overlay: str) -> None:
    server, spec = container(overlay), pod_template(overlay)["spec"]
    selector = spec.get("nodeSelector", {})
    if overlay == "tpu":
        rows, columns = selector["cloud.google.com/gke-tpu-topology"].split("x")
        chips = int(rows) * int(columns)
        assert f"--mesh=tp={chips}" in server["args"]
        assert accelerators(server["resources"]) == {"google.com/tpu": str(chips)}
        [shm] = [v for v in spec["volumes"] if v.get("emptyDir", {}).get("medium") == "Memory"]
        paths = {m["name"]: m["mountPath"] for m in server["volumeMounts"]}
        assert paths[shm["name"]] == "/dev/shm"
    else:
        assert not selector and not [a for a in server["args"] if a.startswith("--mesh")]
