"""Unusable options, values and URLs: status 2, and one line that names them."""

import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reference.bundle import Bundle
from tests.api.conftest import running_server
from tests.conformance.cli.conftest import CHEAP, RANGE, TINY, run
from tests.conformance.mutations.engine import conforming_app
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
