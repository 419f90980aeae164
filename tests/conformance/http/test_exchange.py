"""Requests as they are shown: they can be sent again, and no key is in them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from conformance.http.client import Server, Target
from conformance.http.exchange import LONGEST, clean, redacted, sent, shortened
from reference.bundle import Bundle
from tests.conformance.conftest import target
from tests.conformance.factories import exchange
from tests.conformance.mutations import read, whole

KEY = "sk-0123456789abcdef"
JSON = {"content-type": "application/json"}


TELLING = {b"authorization", b"xi-api-key", b"content-type"}


class Recorder:
    """An app, and what came to it: method, path, the headers that matter, body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.came = app, []  # type: ignore[var-annotated]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read(receive)
        headers = sorted(h for h in scope["headers"] if h[0] in TELLING)
        self.came.append((scope["method"], scope["path"], headers, body))
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(given, None) or await receive()

        await self.app(scope, again, send)


@pytest.fixture(scope="module")
def recorder(tiny_model: Bundle) -> Recorder:
    return Recorder(whole(tiny_model, keys=[KEY]))


@pytest.fixture(scope="module")
def guarded(tiny_model: Bundle, recorder: Recorder) -> Iterator[Target]:
    with target(recorder, tiny_model, (KEY,)) as guarded:
        yield guarded


def wrong(server: Server) -> None:
    server.send(server.body(), headers=JSON | {"authorization": f"Bearer {KEY}x"})


def other(server: Server) -> None:
    server.send(server.body(), headers=JSON | {"authorization": "Bearer another"})


def alias(server: Server) -> None:
    server.send(server.body(max_tokens=1), headers=JSON | {"xi-api-key": KEY})


def no_key(server: Server) -> None:
    server.send(server.body(), headers={"xi-api-key": ""})


REQUESTS = {
    "plain": (200, lambda s: s.post(max_tokens=1)),
    "quotes": (200, lambda s: s.post(max_tokens=1, prompt='it\'s "$HOME" `ls` \\ é\n@!')),
    "streamed": (200, lambda s: s.post(max_tokens=1, stream=True)),
    "refused": (422, lambda s: s.post(top_p=2)),
    "no JSON": (422, lambda s: s.send(b"{'")),
    "of a file's name": (422, lambda s: s.send(b"@/etc/hostname")),
    "listing": (200, lambda s: s.send(method="GET", url=f"{s.target.base}/models")),
    "another method": (405, lambda s: s.send(method="DELETE")),
    "wrong key": (401, wrong),
    "another key": (401, other),
    "alias": (200, alias),
    "no key": (401, no_key),
}


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("name", REQUESTS)
def test_a_curl_line_sends_it_again(guarded: Target, recorder: Recorder, name: str) -> None:
    status, ask = REQUESTS[name]
    server = guarded.server(name)
    ask(server)
    assert server.last is not None and server.last.status == status
    command = f"{server.last.curl} -o /dev/null -w '%{{http_code}}'"
    assert KEY not in command
    environment = os.environ | {"API_KEY": KEY}
    again = subprocess.run(command, shell=True, env=environment, capture_output=True, timeout=60)
    assert again.stdout.decode() == str(status), again.stderr
    first, second = recorder.came[-2:]
    assert first == second or name == "wrong key"  # which is not shown


def test_what_cannot_be_sent_again_says_so() -> None:
    for body in b"\xff", b"\0", b"x" * (LONGEST + 1):
        made = sent("POST", "http://a/v1", JSON, body, None)
        assert not made.whole and "#" in made.curl
    assert sent("POST", "http://a/v1", JSON, b"{}", None).whole


def test_the_key_is_a_variable_and_others_are_shown() -> None:
    headers = {"Authorization": f"bearer {KEY}", "xi-api-key": KEY, "x-other": f"a {KEY}"}
    assert redacted(headers, KEY) == {
        "Authorization": "bearer $API_KEY",
        "xi-api-key": "$API_KEY",
        "x-other": "a $API_KEY",
    }
    assert redacted({"authorization": "Bearer wrong"}, KEY) == {"authorization": "Bearer wrong"}
    assert redacted({"authorization": "Bearer wrong"}, None) == {"authorization": "Bearer wrong"}


@pytest.mark.parametrize("almost", [KEY[:-1], KEY[1:], f"{KEY}x", KEY.upper(), f"{KEY},{KEY}"])
def test_a_key_that_is_almost_the_right_one_is_not_shown(almost: str) -> None:
    assert redacted({"authorization": f"Bearer {almost}"}, KEY) == {
        "authorization": "Bearer $WRONG_KEY"
    }


def test_a_key_that_came_back_is_taken_out() -> None:
    assert clean(f"you sent {KEY}!", KEY) == "you sent $API_KEY!"
    assert clean(f"you sent {KEY[:-1]}", KEY) == "you sent $PART_OF_API_KEY"
    quoted = 'with "quotes"'
    assert quoted[6:] not in clean(json.dumps(quoted), quoted)
    assert clean("any text", None) == "any text"


def test_a_variable_is_filled_in_only_where_a_key_stood() -> None:
    made = exchange(headers={"x-odd": "$(ls) $API_KEY"}, body="a $API_KEY")
    assert "'x-odd: $(ls) $API_KEY'" in made.curl and "'a $API_KEY'" in made.curl


def test_what_is_no_character_can_be_written() -> None:
    assert shortened("a\ud800b") == "a\\ud800b"


def test_long_texts_are_cut() -> None:
    assert shortened("x" * LONGEST) == "x" * LONGEST
    assert shortened("x" * (LONGEST + 1)) == f"{'x' * LONGEST}… ({LONGEST + 1} characters)"
