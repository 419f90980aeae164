"""Start, probes, cache and termination of a pod under load."""

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.server import CLOSE_TIMEOUT
from tests.deploy.clients import COMPLETIONS, HEADERS, Load, request_body, stream_completion
from tests.deploy.kubelet import Monitor, probe, probe_settings, terminate
from tests.deploy.manifests import drain_timeout
from tests.deploy.pod import Pod, folder_entries

pytestmark = pytest.mark.lane

CLIENTS = 12
PROMPTS = [[5] * 480] * 32  # token ids


def wait_for_log(pod: Pod, text: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while text not in pod.log.read_text():
        assert pod.running and time.monotonic() < deadline, pod.log.read_text()
        time.sleep(0.05)


def test_server_is_process_1_without_privileges(started_pod: Pod) -> None:
    status = started_pod.status()
    assert status["NSpid"].split()[-1] == "1"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_probes_succeed(started_pod: Pod) -> None:
    for name in "startupProbe", "readinessProbe", "livenessProbe":
        assert probe(started_pod, name)


def test_requests_require_key_of_secret(started_pod: Pod) -> None:
    url = started_pod.address + COMPLETIONS
    body = request_body(max_tokens=4)
    assert httpx.post(url, json=body, timeout=60).status_code == 401
    assert httpx.post(url, json=body, headers=HEADERS, timeout=60).status_code == 200


def test_image_healthcheck_command(started_pod: Pod) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    image = started_pod.image
    assert image.run(*image.healthcheck, COMPLETIONS_PORT=str(started_pod.port)) == (0, "")
    assert image.run(*image.healthcheck, COMPLETIONS_PORT=str(closed))[0] != 0


def test_second_start_compiles_no_program(
    started_pod: Pod, make_pod: Callable[..., Pod], cache: Path
) -> None:
    compiled = folder_entries(cache)
    assert compiled
    pod = make_pod()
    pod.start()
    wait_for_log(pod, "serving model", 300)
    assert folder_entries(cache) == compiled
    assert terminate(pod).exit_code == 0


def test_root_file_system_is_read_only(started_pod: Pod) -> None:
    pid = started_pod.status()["NSpid"].split()[0]
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    mounts = {fields[4]: fields[5].split(",") for fields in map(str.split, lines)}
    read_only = {target for target, options in mounts.items() if "ro" in options}
    assert {"/", "/usr", "/usr/local", "/model"} <= read_only
    assert not {"/tmp", "/var/cache/completions"} & read_only


def test_termination_under_load_breaks_no_request(new_pod: Pod) -> None:
    load, monitor = Load(new_pod, CLIENTS), Monitor(new_pod)
    time.sleep(3)
    deleted = time.monotonic()
    termination = terminate(new_pod)
    ended = time.monotonic()
    outcomes, records = load.stop(), monitor.stop()
    assert (termination.exit_code, termination.killed) == (0, False)

    pre_stop = new_pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    signaled = ended - termination.seconds
    assert signaled - deleted >= pre_stop
    before = [o for o in outcomes if o.started < deleted]
    during_pre_stop = [o for o in outcomes if deleted <= o.started < signaled - 0.1]
    first_refusal = min(o.ended for o in outcomes if o.status == 503)
    draining = [o for o in outcomes if o.started > first_refusal]
    assert before and during_pre_stop and draining
    assert all(o.status == 200 and o.complete for o in before + during_pre_stop)
    # While it drains, the server refuses requests. At the end the port is closed.
    assert {o.status for o in draining} <= {503, None}
    assert all(o.retry_after for o in outcomes if o.status == 503)
    assert all(o.complete for o in outcomes if o.status == 200)
    assert True in records["readinessProbe"].results
    assert not records["livenessProbe"].failing


def test_draining_pod_is_alive_but_not_ready(new_pod: Pod) -> None:
    """A client that does not read its response keeps the server draining."""
    with stalled_client(new_pod):
        assert probe(new_pod, "readinessProbe")
        new_pod.signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while probe(new_pod, "readinessProbe"):
            assert time.monotonic() < deadline
        assert new_pod.running
        assert probe(new_pod, "livenessProbe")
        refused = stream_completion(new_pod)
        assert refused.status == 503 and refused.retry_after
    assert new_pod.exit_code(drain_timeout("base")) == 0


def stalled_client(pod: Pod) -> socket.socket:
    """Send a request with a response of tens of megabytes, and read only its status.

    The buffers of the two sockets hold a few megabytes. The size does not depend on the output: the
    response has the log-probabilities of the prompts.
    """
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", pod.port))
    body = request_body(prompt=PROMPTS, echo=True, logprobs=20, n=4, max_tokens=1, stream=True)
    request = httpx.Request("POST", pod.address + COMPLETIONS, json=body, headers=HEADERS)
    headers = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    client.sendall(f"POST {COMPLETIONS} HTTP/1.1\r\n{headers}\r\n".encode() + request.content)
    status = client.recv(12)
    assert status == b"HTTP/1.1 200", pod.log.read_text()
    return client


def test_client_that_stops_reading_is_cut_off(new_pod: Pod) -> None:
    """The server ends by itself before the end of the grace period."""
    with stalled_client(new_pod):
        termination = terminate(new_pod)
    assert (termination.exit_code, termination.killed) == (0, False)
    drain = drain_timeout("base")
    assert drain <= termination.seconds <= drain + CLOSE_TIMEOUT + 5


def test_termination_during_startup(make_pod: Callable[..., Pod], tmp_path: Path) -> None:
    """Process 1 gets a signal only if it has a handler. The compilation here starts cold."""
    pod = make_pod(claims={"completions-cache": tmp_path})
    pod.start()
    deadline = time.monotonic() + 120
    while not folder_entries(tmp_path):  # the first program was compiled
        assert pod.running and time.monotonic() < deadline, pod.log.read_text()
        time.sleep(0.1)
    assert not probe(pod, "startupProbe")
    pod.signal(signal.SIGTERM)
    assert pod.exit_code(pod.spec["terminationGracePeriodSeconds"]) == 128 + signal.SIGTERM
    assert "Traceback" not in pod.log.read_text()


def test_frozen_process_fails_liveness_and_is_killed(new_pod: Pod) -> None:
    settings = probe_settings(new_pod, "livenessProbe")
    monitor = Monitor(new_pod)
    new_pod.signal(signal.SIGSTOP)
    slowest = settings["periodSeconds"] + settings["timeoutSeconds"]
    deadline = time.monotonic() + (settings["failureThreshold"] + 1) * slowest
    while not monitor.records["livenessProbe"].failing:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert monitor.stop()["readinessProbe"].failing
    assert terminate(new_pod, grace_period=1).killed


def test_pod_without_secret_does_not_start(make_pod: Callable[..., Pod]) -> None:
    with pytest.raises(KeyError, match="completions-api-keys"):
        make_pod(secrets={}).start()


@pytest.mark.parametrize("keys", ["", " , "])
def test_empty_secret_is_refused(keys: str, make_pod: Callable[..., Pod]) -> None:
    pod = make_pod(secrets={"completions-api-keys": {"keys": keys}})
    pod.start()
    assert pod.exit_code(60) == 2
    assert "--api-key" in pod.log.read_text()
