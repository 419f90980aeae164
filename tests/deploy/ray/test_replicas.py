"""Two replicas behind Ray Serve: streams, seeds, affinity, overload, and a replica that dies."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.deploy.ray.cluster import SCRIPTS, replica_pids, serving
from tests.jax_backend.multihost.ports import free_ports

PATH = "/v1/completions"
LONG_TEXT = {"type": "regex", "regex": "[a-z ]{1500}"}
BODY: dict[str, Any] = {"model": "tiny-text", "prompt": "Once upon a time", "seed": 3}

pytestmark = [
    pytest.mark.lane,
    pytest.mark.skipif(
        not (SCRIPTS / "serve").exists() and "CI" not in os.environ, reason="no .venv-ray"
    ),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(free_ports(1)) as address:
        yield address


def post(address: str, session: str = "", **fields: Any) -> httpx.Response:
    headers = {"x-session-id": session} if session else {}
    return httpx.post(address + PATH, json=BODY | fields, headers=headers, timeout=120)


def test_stream_arrives_token_by_token(address: str) -> None:
    arrivals = []
    body = BODY | {"stream": True, "max_tokens": 60, "temperature": 0}
    with httpx.stream("POST", address + PATH, json=body, timeout=120) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith("data: {"):
                arrivals.append(time.monotonic())
    assert len(arrivals) >= 20
    assert len(set(arrivals)) > 10 and arrivals[-1] - arrivals[0] > 0.02


def test_replicas_agree(address: str) -> None:
    """One seed gives one text, and one fingerprint, on every replica."""
    answers = [post(address, f"session {i}", max_tokens=24).json() for i in range(12)]
    assert len({answer["choices"][0]["text"] for answer in answers}) == 1
    assert len({answer["system_fingerprint"] for answer in answers}) == 1


def test_errors_pass_through(address: str) -> None:
    response = post(address, temperature=9)
    assert response.status_code == 422 and "temperature" in response.text
    assert post(address, model="other").status_code == 404


def test_follow_up_requests_hit_the_prefix(address: str) -> None:
    """The header x-session-id selects the replica: at least 95 % of follow-up requests find their
    prefix in its cache, and both replicas have sessions.
    """
    hits = 0
    for session in range(10):
        prompt = f"Session {session}: " + "once upon a time there was a little girl. " * 12
        for turn in range(5):
            fields = {"prompt": prompt + "and " * turn, "max_tokens": 1}
            usage = post(address, f"s{session}", **fields).json()["usage"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            hits += turn > 0 and cached > 0
    assert hits >= 0.95 * 40


def test_requests_without_a_session_use_both_replicas(address: str) -> None:
    """A long prompt is in the cache of the replica that had it: the first one on each misses."""
    prompt = "the same prompt for all, which is long enough for a page of the cache. " * 10
    misses = 0
    for _ in range(12):
        usage = post(address, prompt=prompt, max_tokens=1).json()["usage"]
        misses += usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert misses == 2


def test_overload_is_a_429(address: str) -> None:
    with ThreadPoolExecutor(40) as pool:
        responses = list(pool.map(lambda i: post(address, max_tokens=300, n=1), range(40)))
    statuses = Counter(response.status_code for response in responses)
    assert set(statuses) == {200, 429} and statuses[200] >= 8
    refused = [response for response in responses if response.status_code == 429]
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
    assert post(address, max_tokens=2).status_code == 200


def test_killed_replica_loses_its_own_streams_only(address: str) -> None:
    ends: list[str] = []
    started = threading.Semaphore(0)

    def stream(session: int) -> None:
        body = BODY | {"stream": True, "max_tokens": 900, "response_format": LONG_TEXT}
        headers = {"x-session-id": f"k{session}"}
        end = "broken"
        try:
            with httpx.stream(
                "POST", address + PATH, json=body, headers=headers, timeout=120
            ) as response:
                lines = response.iter_lines()
                next(lines)
                started.release()
                if any("[DONE]" in line for line in lines):
                    end = "complete"
        except httpx.HTTPError:
            pass
        ends.append(end)

    before = post(address, max_tokens=8).json()["choices"][0]["text"]
    threads = [threading.Thread(target=stream, args=[session]) for session in range(6)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert started.acquire(timeout=60)
    victim, *_ = replica_pids()
    os.kill(victim, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert Counter(ends)["complete"] >= 1 and Counter(ends)["broken"] >= 1
    end = time.monotonic() + 60
    while (response := post(address, max_tokens=8)).status_code != 200:
        assert time.monotonic() < end, response.text
        time.sleep(0.5)
    assert response.json()["choices"][0]["text"] == before
    while len(replica_pids()) != 2 or victim in replica_pids():
        assert time.monotonic() < end + 60
        time.sleep(0.5)
