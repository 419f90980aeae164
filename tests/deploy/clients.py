"""Requests that a pod gets during a test."""

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.deploy.pod import Pod

API_KEY = "the-key-of-the-test"
HEADERS = {"Authorization": f"Bearer {API_KEY}"}
COMPLETIONS = "/v1/openai/completions"


@dataclass(frozen=True)
class Outcome:
    """A request. started, ended: time.monotonic(). status: None if there was no response, since
    the connection was refused, or closed with the port before the server had read from it.

    complete: a stream that ended with a finish reason for its choice, and [DONE].
    """

    started: float
    status: int | None
    complete: bool = False
    retry_after: str | None = None
    ended: float = field(default_factory=time.monotonic)


def request_body(**fields: Any) -> dict[str, Any]:
    return {"model": "model", "prompt": "Once upon a time", "max_tokens": 200, **fields}


def stream_completion(pod: Pod, **fields: Any) -> Outcome:
    """Send one streaming request, and read it to its end."""
    started = time.monotonic()
    body = request_body(stream=True, stop_token_ids=[], **fields)
    status = None
    try:
        with httpx.stream(
            "POST", pod.address + COMPLETIONS, json=body, headers=HEADERS, timeout=120
        ) as response:
            status = response.status_code
            lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    except httpx.HTTPError:
        return Outcome(started, status)
    done = lines[-1:] == ["[DONE]"]
    events = [json.loads(line) for line in lines[:-1]] if done else []
    finished = any(c["finish_reason"] for e in events for c in e.get("choices", []))
    retry_after = response.headers.get("retry-after")
    return Outcome(started, status, done and finished, retry_after)


class Load:
    """Clients that send requests one after another until `stop`, or until the port is closed."""

    def __init__(self, pod: Pod, clients: int, **fields: Any) -> None:
        self.pod, self.fields = pod, fields
        self.outcomes: list[Outcome] = []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self) -> None:
        while not self.stopped.is_set():
            outcome = stream_completion(self.pod, **self.fields)
            self.outcomes.append(outcome)
            if outcome.status is None:
                return
            if outcome.status == 503:
                self.stopped.wait(0.2)

    def stop(self) -> list[Outcome]:
        """End after the requests in flight. Return the outcome of each request."""
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        return self.outcomes
