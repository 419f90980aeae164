"""Metric names of the manifests, evaluated on a scrape of a pod."""

import math
import re
import time
from collections.abc import Iterator

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.clients import Load
from tests.deploy.manifests import KUBERNETES, OVERLAYS, manifests
from tests.deploy.pod import Pod

pytestmark = pytest.mark.lane

RULES = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
SATURATING_CLIENTS = 40


def scrape(pod: Pod, overlay: str = "base") -> dict[str, float]:
    """Scrape the endpoint of the PodMonitor, without a key. Return the sum of each series."""
    [endpoint] = manifests(overlay)["PodMonitor"]["spec"]["podMetricsEndpoints"]
    response = httpx.get(pod.address + endpoint["path"], timeout=10)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def published_metrics(pod: Pod) -> dict[str, float]:
    """Return the metrics of a pod that the rules of the adapter publish."""
    result = {}
    for rule in RULES:
        match = re.search(r'__name__=~"([^"]+)"', rule["seriesQuery"])
        assert match
        result |= {name: v for name, v in scrape(pod).items() if re.search(match[1], name)}
    return result


def hpa_metric(overlay: str) -> tuple[str, float]:
    """Return the name and the target of the metric that the autoscaler reads."""
    [metric] = manifests(overlay)["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["type"] == "Pods" and metric["pods"]["target"]["type"] == "AverageValue"
    return metric["pods"]["metric"]["name"], float(metric["pods"]["target"]["averageValue"])


def desired_replicas(pod: Pod, overlay: str) -> int:
    """Return the number of replicas that the autoscaler wants while this pod is the only one."""
    name, target = hpa_metric(overlay)
    spec = manifests(overlay)["HorizontalPodAutoscaler"]["spec"]
    wanted = math.ceil(published_metrics(pod)[name] / target)
    return max(spec["minReplicas"], min(spec["maxReplicas"], wanted))


@pytest.fixture
def saturated_pod(started_pod: Pod) -> Iterator[Pod]:
    load = Load(started_pod, SATURATING_CLIENTS)
    deadline = time.monotonic() + 30
    while scrape(started_pod)["completions_requests_running"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    yield started_pod
    outcomes = load.stop()
    assert all(outcome.complete for outcome in outcomes)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_autoscaler_metric_is_published(overlay: str, started_pod: Pod) -> None:
    assert hpa_metric(overlay)[0] in published_metrics(started_pod)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_idle_pod_is_not_scaled_up(overlay: str, started_pod: Pod) -> None:
    assert desired_replicas(started_pod, overlay) == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_queue_scales_up(overlay: str, saturated_pod: Pod) -> None:
    assert desired_replicas(saturated_pod, overlay) > 1


def test_cache_usage_is_a_ratio(saturated_pod: Pod) -> None:
    usage = scrape(saturated_pod)["completions_kv_cache_usage_ratio"]
    assert 0 < usage <= 1
