"""The part of the kubelet that deals with a running pod: probes, and termination.

Source: Kubernetes, "Pod Lifecycle" and "Configure Liveness, Readiness and Startup Probes".
"""

import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field

import httpx

from tests.deploy.manifests import Manifest
from tests.deploy.pod import Pod

DEFAULTS = {"periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1}


@dataclass(frozen=True)
class Termination:
    """End of a container. killed: after its grace period. seconds: from SIGTERM to the end."""

    exit_code: int
    killed: bool
    seconds: float


def probe_settings(pod: Pod, name: str) -> Manifest:
    return {**DEFAULTS, **pod.container[name]}


def probe(pod: Pod, name: str) -> bool:
    """Send one probe. It succeeds with a status from 200 to 399 within its time limit."""
    settings = probe_settings(pod, name)
    action = settings["httpGet"]
    assert action["port"] in {port["name"] for port in pod.container["ports"]}
    try:
        response = httpx.get(pod.address + action["path"], timeout=settings["timeoutSeconds"])
    except httpx.HTTPError:
        return False
    return 200 <= response.status_code < 400


def wait_until_started(pod: Pod) -> None:
    """Wait for the startup probe, then for the readiness probe.

    Raises AssertionError with the log if the container ends, or exceeds the startup probe. The
    probe is sent every second, so that tests are faster.
    """
    settings = probe_settings(pod, "startupProbe")
    deadline = time.monotonic() + settings["periodSeconds"] * settings["failureThreshold"]
    for name in "startupProbe", "readinessProbe":
        while not probe(pod, name):
            assert pod.running, pod.log.read_text()
            assert time.monotonic() < deadline, pod.log.read_text()
            time.sleep(1)


@dataclass
class ProbeRecord:
    """Results of one probe. failing: it has reached its failure threshold."""

    results: list[bool] = field(default_factory=list)
    failing: bool = False


class Monitor:
    """Sends the readiness and the liveness probe at their periods until `stop`."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.stopped = threading.Event()
        self.records = {name: ProbeRecord() for name in ("readinessProbe", "livenessProbe")}
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in self.records]
        for thread in self.threads:
            thread.start()

    def run(self, name: str) -> None:
        settings, record = probe_settings(self.pod, name), self.records[name]
        threshold = settings["failureThreshold"]
        while not self.stopped.is_set():
            record.results.append(probe(self.pod, name))
            record.failing |= record.results[-threshold:] == [False] * threshold
            self.stopped.wait(settings["periodSeconds"])

    def stop(self) -> dict[str, ProbeRecord]:
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        return self.records


def terminate(pod: Pod, grace_period: float | None = None) -> Termination:
    """End a pod: preStop, SIGTERM and, after the grace period, SIGKILL.

    The grace period includes preStop. grace_period: by default the one of the pod.
    """
    grace = pod.spec["terminationGracePeriodSeconds"] if grace_period is None else grace_period
    deadline = time.monotonic() + grace
    hook = pod.container.get("lifecycle", {}).get("preStop", {})
    time.sleep(min(grace, hook.get("sleep", {}).get("seconds", 0)))
    started, killed = time.monotonic(), False
    pod.signal(signal.SIGTERM)
    try:
        pod.exit_code(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        killed = True
        pod.kill()
    return Termination(pod.exit_code(), killed, time.monotonic() - started)
