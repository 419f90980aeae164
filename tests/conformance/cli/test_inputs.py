"""Unusable options, values and URLs: status 2, and one line that names them."""

import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from conformance.harness.result import Report
from reference.bundle import Bundle
from tests.api.conftest import running_server
from tests.conformance import tiny_models
from tests.conformance.cli.conftest import CHEAP, RANGE, TINY, run
from tests.conformance.mutations.engine import conforming_app
from tests.conformance.mutations.requests import change_default
from tests.conformance.mutations.responses import mutate_text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "top_q"), "--only 'top_q'"),
        (("--skip", "top_p/none"), "--skip 'top_p/none'"),
        (("--only", "top_p", "--skip", "top_p"), "--skip"),
        (("--only", RANGE, "--depth", "truth"), "--depth"),
        (("--expect", "none.toml"), "--expect none.toml: No such file"),
        (("--truth", "none"), "--truth none"),
        (("--tolerance", "0.1"), "--tolerance"),
        (("--report", "none/a.html"), "--report none/a.html"),
        (("--json", "."), "--json ."),
        (("--junit", "none/a.xml"), "--junit none/a.xml"),
        (("--model", "another"), "--model"),
        (("--expect", os.devnull, "--only", "\x1b[31m\n"), "--only '\\x1b[31m\\n'"),
    ],
)
def test_unusable_option_is_named(
    conforming: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert run(conforming, *TINY, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--concurrency", "0"), "--concurrency"),
        (("--max-requests", "many"), "--max-requests"),
        (("--timeout", "inf"), "--timeout"),
        (("--depth", "deep"), "--depth"),
        (("--api-key", "a secret"), "--api-key"),
        (("--api-key", "sécret"), "--api-key"),
    ],
)
def test_invalid_value_is_named(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("http://127.0.0.1:1", *TINY, *arguments)
    err = capsys.readouterr().err
    assert ended.value.code == 2 and message in err and "cret" not in err


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1", "http://no-such-host.invalid/v1", "http://", "http://[::1"),
        *("http://127.0.0.1:99999", "ftp://127.0.0.1", "http://me:secret@127.0.0.1:1"),
        *("http://127.0.0.1:1/v1?key=secret", ""),
    ],
)
def test_unreachable_url(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url, *TINY, *CHEAP) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: URL") and err.count("\n") == 1 and "me:secret" not in err


def test_url_of_another_service(
    conforming: str, tiny_model: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(conforming.replace("http:", "https:"), *TINY, *CHEAP, "--timeout", 10) == 2
    with running_server(
        mutate_text(conforming_app(tiny_model), lambda text, kind: "<html>\n")
    ) as address:  # type: ignore[arg-type]
        assert run(address, *TINY, *CHEAP) == 2
    with ssh_server() as address:
        assert run(address, *TINY, *CHEAP, "--timeout", 10) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3 and "SSL" in err[0] and "<html>" in err[1] and "Protocol" in err[2]


def respond(text: str, status: int = 200, **headers: str) -> ASGIApp:
    """Return an app that has one response."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(text, status, headers, "application/json")(scope, receive, send)

    return app


OTHER_SERVICES = {
    '{"ok": true}': "choices[0].text is missing",
    '{"choices": []}': "choices[0].text is missing",
    '{"choices": [{"index": 0}]}': "choices[0].text is missing",
    '{"object": "chat.completion", "choices": [{"message": {}}]}': "is a chat endpoint",
    '{"choices": [{"index": 0, "message": {"content": "a"}}]}': "is a chat endpoint",
}


@pytest.mark.parametrize("text", OTHER_SERVICES)
def test_service_without_completions_is_explained(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_server(respond(text)) as address:
        assert run(address, *TINY) == 2
    out, err = capsys.readouterr()
    assert out == "" and OTHER_SERVICES[text] in err and err.count("\n") == 1


def test_several_choices_by_default_are_a_completion(tiny_model: Bundle) -> None:
    with running_server(change_default(conforming_app(tiny_model), "n", 2)) as address:  # type: ignore[arg-type]
        assert run(address, *TINY, *CHEAP) == 0


def test_redirect_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with running_server(respond("", 307, location="http://elsewhere/v1")) as address:
        assert run(address, *TINY) == 2
    assert "redirects a plain request to http://elsewhere/v1 (307)" in capsys.readouterr().err


def test_other_weights_are_refused(
    conforming: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_models.write(tmp_path, seed=1)
    assert run(conforming, *TINY, *CHEAP, "--truth", other) == 2
    out, err = capsys.readouterr()
    assert out == "" and "different weights" in err and str(other) in err


def test_same_weights_are_reported(
    conforming: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = tiny_models.write(tmp_path / "same")
    for options, tolerance in ((), "0.001"), (("--tolerance", "0.5"), "0.5"):
        data = tmp_path / "a.json"
        assert run(conforming, *TINY, *CHEAP, "--truth", same, *options, "--json", data) == 0
        out = capsys.readouterr().out
        assert "same weights, maximum deviation" in out and f"tolerance {tolerance}" in out
        written = Report.model_validate_json(data.read_bytes())
        assert written.tolerance == float(tolerance) and (written.deviation or 0) < 1e-5


class SshHandler(socketserver.BaseRequestHandler):
    """A handler of another protocol."""

    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-none\r\n\r\n")
        while self.request.recv(1 << 16):
            pass


@contextmanager
def ssh_server() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), SshHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
