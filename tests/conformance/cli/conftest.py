"""A conforming and a clamping server for the command line."""

from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp

from conformance.__main__ import main
from reference.bundle import Bundle
from tests.api.conftest import running_server
from tests.conformance.mutations.engine import conforming_app
from tests.conformance.mutations.requests import mutate_body

KEY = "sk-0123456789abcdef"
RANGE, ENDS = "top_p/range", "top_p/range-endpoints"
RANGE_GLOB = f"*/{RANGE.partition('/')[2]}"
CHEAP = ("--only", RANGE, "--only", ENDS)
TINY = ("--model", "tiny")


def clamp_top_p(app: ASGIApp) -> ASGIApp:
    """Return a server that clamps top_p, which RANGE fails."""
    return mutate_body(
        app, lambda b: b | ({"top_p": min(max(b["top_p"], 0), 1)} if "top_p" in b else {})
    )


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "COMPLETIONS_API_KEY", "FORCE_COLOR", "TTY_COMPATIBLE":
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def conforming(tiny_model: Bundle) -> Iterator[str]:
    with running_server(conforming_app(tiny_model)) as address:  # type: ignore[arg-type]
        yield address


@pytest.fixture(scope="module")
def clamping(tiny_model: Bundle) -> Iterator[str]:
    with running_server(clamp_top_p(conforming_app(tiny_model, keys=[KEY]))) as address:  # type: ignore[arg-type]
        yield address


def run(*arguments: object) -> int:
    return main(["run", *map(str, arguments)])
