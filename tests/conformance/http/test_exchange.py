"""Recorded requests: their curl commands repeat them, and they contain no key."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from conformance.http.client import Server, Target
from conformance.http.exchange import (
    MAX_BODY_CHARS,
    record_request,
    redact,
    redact_headers,
    truncate,
)
from reference.bundle import Bundle
from tests.conformance.conftest import target
from tests.conformance.factories import exchange
from tests.conformance.mutations.engine import conforming_app
from tests.conformance.mutations.requests import read_body, replay_body

KEY = "sk-0123456789abcdef"
JSON = {"content-type": "application/json"}

RECORDED_HEADERS = {b"authorization", b"xi-api-key", b"content-type"}


class Recorder:
    """An app that records method, path, some headers and body of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.requests = app, []  # type: ignore[var-annotated]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        headers = sorted(h for h in scope["headers"] if h[0] in RECORDED_HEADERS)
        self.requests.append((scope["method"], scope["path"], headers, body))
        await self.app(scope, replay_body(body, receive), send)


@pytest.fixture(scope="module")
def recorder(tiny_model: Bundle) -> Recorder:
    return Recorder(conforming_app(tiny_model, keys=[KEY]))


@pytest.fixture(scope="module")
def guarded(tiny_model: Bundle, recorder: Recorder) -> Iterator[Target]:
    with target(recorder, tiny_model, (KEY,)) as guarded:
        yield guarded


def almost_right_key(server: Server) -> None:
    server.send(server.body(), headers=JSON | {"authorization": f"Bearer {KEY}x"})


def other_key(server: Server) -> None:
    server.send(server.body(), headers=JSON | {"authorization": "Bearer another"})


def alias_header(server: Server) -> None:
    server.send(server.body(max_tokens=1), headers=JSON | {"xi-api-key": KEY})


def no_key(server: Server) -> None:
    server.send(server.body(), headers={"xi-api-key": ""})


REQUESTS = {
    "plain": (200, lambda s: s.post(max_tokens=1)),
    "quotes": (200, lambda s: s.post(max_tokens=1, prompt='it\'s "$HOME" `ls` \\ é\n@!')),
    "streamed": (200, lambda s: s.post(max_tokens=1, stream=True)),
    "refused": (422, lambda s: s.post(top_p=2)),
    "not JSON": (422, lambda s: s.send(b"{'")),
    "curl file syntax": (422, lambda s: s.send(b"@/etc/hostname")),
    "listing": (200, lambda s: s.send(method="GET", url=f"{s.target.base}/models")),
    "another method": (405, lambda s: s.send(method="DELETE")),
    "wrong key": (401, almost_right_key),
    "another key": (401, other_key),
    "alias": (200, alias_header),
    "no key": (401, no_key),
}


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("name", REQUESTS)
def test_curl_command_repeats_the_request(guarded: Target, recorder: Recorder, name: str) -> None:
    status, send = REQUESTS[name]
    server = guarded.server(name)
    send(server)
    assert server.last is not None and server.last.status == status
    command = f"{server.last.curl} -o /dev/null -w '%{{http_code}}'"
    assert KEY not in command
    environment = os.environ | {"API_KEY": KEY}
    repeated = subprocess.run(command, shell=True, env=environment, capture_output=True, timeout=60)
    assert repeated.stdout.decode() == str(status), repeated.stderr
    first, second = recorder.requests[-2:]
    assert first == second or name == "wrong key"  # which is redacted


def test_unrepeatable_request_has_a_comment() -> None:
    for body in b"\xff", b"\0", b"x" * (MAX_BODY_CHARS + 1):
        recorded = record_request("POST", "http://a/v1", JSON, body, None)
        assert not recorded.whole and "#" in recorded.curl
    assert record_request("POST", "http://a/v1", JSON, b"{}", None).whole


def test_key_becomes_a_variable() -> None:
    headers = {"Authorization": f"bearer {KEY}", "xi-api-key": KEY, "x-other": f"a {KEY}"}
    assert redact_headers(headers, KEY) == {
        "Authorization": "bearer $API_KEY",
        "xi-api-key": "$API_KEY",
        "x-other": "a $API_KEY",
    }
    assert redact_headers({"authorization": "Bearer wrong"}, KEY) == {
        "authorization": "Bearer wrong"
    }
    assert redact_headers({"authorization": "Bearer wrong"}, None) == {
        "authorization": "Bearer wrong"
    }


@pytest.mark.parametrize("almost", [KEY[:-1], KEY[1:], f"{KEY}x", KEY.upper(), f"{KEY},{KEY}"])
def test_almost_right_key_is_redacted(almost: str) -> None:
    assert redact_headers({"authorization": f"Bearer {almost}"}, KEY) == {
        "authorization": "Bearer $WRONG_KEY"
    }


def test_echoed_key_is_redacted() -> None:
    assert redact(f"you sent {KEY}!", KEY) == "you sent $API_KEY!"
    assert redact(f"you sent {KEY[:-1]}", KEY) == "you sent $PART_OF_API_KEY"
    quoted = 'with "quotes"'
    assert quoted[6:] not in redact(json.dumps(quoted), quoted)
    assert redact("any text", None) == "any text"


def test_variable_expands_only_in_key_headers() -> None:
    recorded = exchange(headers={"x-odd": "$(ls) $API_KEY"}, body="a $API_KEY")
    assert "'x-odd: $(ls) $API_KEY'" in recorded.curl and "'a $API_KEY'" in recorded.curl


def test_lone_surrogates_are_escaped() -> None:
    assert truncate("a\ud800b") == "a\\ud800b"


def test_long_texts_are_truncated() -> None:
    assert truncate("x" * MAX_BODY_CHARS) == "x" * MAX_BODY_CHARS
    assert (
        truncate("x" * (MAX_BODY_CHARS + 1))
        == f"{'x' * MAX_BODY_CHARS}… ({MAX_BODY_CHARS + 1} characters)"
    )
