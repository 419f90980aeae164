"""Manifests of one model on several hosts, and of an inference gateway."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import generate_latest

from api.app import create_app
from api.backends.loading import BACKENDS
from api.options.arguments import build_parser
from jax_backend.multihost.settings import Hosts
from tests.api.toy import toy_model
from tests.deploy.manifests import manifests

pytestmark = pytest.mark.lane
VERSION = "1.37"
INJECTED = {
    "LWS_LEADER_ADDRESS": "completions-0.completions.default",
    "LWS_GROUP_SIZE": "4",
    "LWS_WORKER_INDEX": "3",
}  # what the controller of LeaderWorkerSet adds to the environment


def template() -> dict[str, Any]:
    result: dict[str, Any] = manifests("multi-host")["LeaderWorkerSet"]["spec"]
    return result["leaderWorkerTemplate"]


def server() -> dict[str, Any]:
    [container] = template()["workerTemplate"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_objects_match_kubernetes_schemas() -> None:
    objects = manifests("multi-host")
    pod = {"apiVersion": "v1", "kind": "Pod", **template()["workerTemplate"]}
    pod["metadata"] = {"name": "pod", **pod["metadata"]}
    for manifest in (pod, objects["Service"], objects["NetworkPolicy"]):
        kubernetes_validate.validate(manifest, VERSION, strict=True)
    assert objects["LeaderWorkerSet"]["apiVersion"] == "leaderworkerset.x-k8s.io/v1"
    assert template()["restartPolicy"] == "RecreateGroupOnPodRestart"
    assert "leaderTemplate" not in template()  # the leader is a worker with index 0


@pytest.mark.parametrize("rank", ["0", "3"])
def test_arguments_describe_the_group(rank: str) -> None:
    values = INJECTED | {"LWS_WORKER_INDEX": rank}
    arguments = [
        re.sub(r"\$\(([A-Z_]+)\)", lambda m: values[m[1]], text) for text in server()["args"]
    ]
    options = build_parser(BACKENDS).parse_args(arguments)
    hosts = Hosts(
        count=options.hosts, rank=options.rank, coordinator=options.coordinator, secret="s"
    )
    assert (hosts.count, hosts.rank) == (template()["size"], int(rank))
    names = {variable["name"]: variable for variable in server()["env"]}
    assert "valueFrom" in names["COMPLETIONS_HOSTS_SECRET"]
    ports = {port["name"]: port["containerPort"] for port in server()["ports"]}
    assert hosts.coordinator == f"{INJECTED['LWS_LEADER_ADDRESS']}:{ports['coordinator']}"
    assert ports["changes"] == ports["coordinator"] + 1


def test_mesh_has_the_chips_of_all_hosts() -> None:
    selector = template()["workerTemplate"]["spec"]["nodeSelector"]
    rows, columns = map(int, selector["cloud.google.com/gke-tpu-topology"].split("x"))
    chips = int(server()["resources"]["limits"]["google.com/tpu"])
    assert rows * columns == chips * template()["size"]
    assert f"--mesh=tp={rows * columns}" in server()["args"]


def test_only_the_leader_gets_requests() -> None:
    selector = manifests("multi-host")["Service"]["spec"]["selector"]
    assert selector["leaderworkerset.sigs.k8s.io/worker-index"] == "0"
    policy = manifests("multi-host")["NetworkPolicy"]["spec"]
    open_ports = [
        port for rule in policy["ingress"] if "from" not in rule for port in rule["ports"]
    ]
    assert open_ports == [{"port": "http"}]


def test_gateway_reads_gauges_of_the_server() -> None:
    objects = manifests("inference-gateway")
    config = yaml.safe_load(objects["ConfigMap"]["data"]["config.yaml"])
    plugins = {plugin["type"]: plugin.get("parameters", {}) for plugin in config["plugins"]}
    extractor = plugins["core-metrics-extractor"]
    [engine] = extractor["engineConfigs"]
    assert engine["name"] == extractor["defaultEngine"]
    served = toy_model()
    app = create_app([served])
    exported = generate_latest(app.state.service.metrics.registry).decode()
    served.engine.close()
    for name in "queuedRequestsSpec", "runningRequestsSpec", "kvUsageSpec":
        assert f"# TYPE {engine[name]} gauge" in exported
    referenced = [
        plugin["pluginRef"]
        for profile in config["schedulingProfiles"]
        for plugin in profile["plugins"]
    ]
    for source in config["dataLayer"]["sources"]:
        referenced += [source["pluginRef"], *(e["pluginRef"] for e in source["extractors"])]
    assert set(referenced) == set(plugins)


def test_gateway_selects_the_pods() -> None:
    objects = manifests("inference-gateway")
    pool, deployment = objects["InferencePool"]["spec"], objects["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert pool["selector"]["matchLabels"].items() <= labels.items()
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert pool["targetPorts"] == [{"number": container["ports"][0]["containerPort"]}]
    [rule] = objects["HTTPRoute"]["spec"]["rules"]
    assert rule["backendRefs"][0]["name"] == objects["InferencePool"]["metadata"]["name"]
