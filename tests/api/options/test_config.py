"""Options from the command line, the environment and a file."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.options.arguments import build_parser
from api.options.config import parse_options

SOURCES = ("file", "environment", "arguments")


def parse(arguments: list[str], environment: dict[str, str] | None = None, toml: str = "") -> Any:
    """Parse the options of all three sources."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        if toml:
            import tempfile

            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "server.toml"
                path.write_text(toml)
                return parse_options(build_parser(["jax"]), ["--config", str(path), *arguments])
        return parse_options(build_parser(["jax"]), arguments)


def refusal(capsys: pytest.CaptureFixture[str], *sources: Any) -> str:
    with pytest.raises(SystemExit) as exit_info:
        parse(*sources)
    assert exit_info.value.code == 2
    return capsys.readouterr().err


@given(st.sets(st.sampled_from(SOURCES)))
def test_first_source_decides(given_in: set[str]) -> None:
    slots = {"file": 3, "environment": 4, "arguments": 5}
    options = parse(
        ["--slots", "5"] if "arguments" in given_in else [],
        {"COMPLETIONS_SLOTS": "4"} if "environment" in given_in else {},
        "slots = 3" if "file" in given_in else "port = 1",
    )
    last = max(given_in, key=SOURCES.index, default=None)
    assert options.slots == (slots[last] if last else 8)


def test_file_sets_all_kinds_of_options() -> None:
    options = parse(
        [],
        toml="""
            backend = "jax"
            model = ["small=/models/a", "/models/b"]
            api-key = ["k1", "k2"]
            allowed-origin = "https://a.example"
            strict = true
            batch-invariant = false
            mesh = "tp=2"
            request-timeout = 2.5
        """,
    )
    assert options.model == [("small", Path("/models/a")), ("b", Path("/models/b"))]
    assert options.api_key == ["k1", "k2"] and options.allowed_origin == ["https://a.example"]
    assert options.strict is True and options.batch_invariant is False
    assert (options.mesh, options.request_timeout) == (2, 2.5)


def test_environment_sets_all_kinds_of_options() -> None:
    options = parse(
        [],
        {
            "COMPLETIONS_API_KEY": "k1, k2",
            "COMPLETIONS_STRICT": "true",
            "COMPLETIONS_BATCH_INVARIANT": "0",
            "COMPLETIONS_LOG_FORMAT": "json",
            "COMPLETIONS_HOST": "",
        },
    )
    assert options.api_key == ["k1", "k2"] and options.strict is True
    assert (options.batch_invariant, options.log_format) == (False, "json")
    assert options.host == "127.0.0.1"


def test_config_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text("slots = 3")
    assert parse([], {"COMPLETIONS_CONFIG": str(path)}).slots == 3


def test_negated_flag_takes_precedence() -> None:
    assert parse(["--no-strict"], {"COMPLETIONS_STRICT": "1"}).strict is False


@pytest.mark.parametrize(
    ("sources", "parts"),
    [
        (([], {}, "slot = 3"), ["server.toml", "'slot'", "'slots'"]),
        (([], {}, "slots = 0"), ["server.toml", "slots", "at least 1"]),
        (([], {}, "slots = true"), ["server.toml", "slots", "True"]),
        (([], {}, "slots = [1, 2]"), ["server.toml", "slots", "[1, 2]"]),
        (([], {}, "strict = 'maybe'"), ["server.toml", "strict", "maybe"]),
        (([], {}, "backend = 'torch'"), ["server.toml", "backend", "torch"]),
        (([], {}, "slots ="), ["server.toml"]),
        (([], {}, "[server]\nslots = 3"), ["server.toml", "'server'"]),
        (([], {"COMPLETIONS_SLOT": "3"}), ["environment", "COMPLETIONS_SLOT", "SLOTS"]),
        (([], {"COMPLETIONS_API_KEY": " , "}), ["environment", "COMPLETIONS_API_KEY", "empty"]),
        (([], {"COMPLETIONS_API_KEY": ""}), ["environment", "COMPLETIONS_API_KEY", "empty"]),
        (([], {"COMPLETIONS_PORT": "tcp://10.0.0.1:80"}), ["environment", "port"]),
        ((["--config", "/nowhere/x.toml"],), ["/nowhere/x.toml"]),
        ((["--slots", "0"],), ["--slots", "at least 1"]),
        ((["--slot", "3"],), ["--slot"]),
    ],
)
def test_refusal_names_source_and_option(
    capsys: pytest.CaptureFixture[str], sources: Any, parts: list[str]
) -> None:
    message = refusal(capsys, *sources)
    assert all(part in message for part in parts), message


def test_speculation_is_an_option_of_every_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse([]).speculate == "lookup"
    assert parse(["--speculate", "off"]).speculate == "off"
    assert parse([], {"COMPLETIONS_SPECULATE": "off"}).speculate == "off"
    assert parse([], toml='speculate = "off"').speculate == "off"
    assert "speculate" in refusal(capsys, ["--speculate", "sometimes"])
    assert "speculate" in refusal(capsys, [], {}, 'speculate = "sometimes"').lower()
