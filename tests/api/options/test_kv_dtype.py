"""`--kv-dtype` reaches both backends and the explanations."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from api.__main__ import BACKENDS, load_extensions
from api.options.arguments import build_parser
from jax_backend import launch
from reference.bundle import EMBEDDED
from reference.engine import ReferenceEngine

TEXT = EMBEDDED / "text"


class Stop(Exception):
    """The engine would be launched now."""


def options(*arguments: str) -> argparse.Namespace:
    return build_parser(BACKENDS).parse_args(["--model", str(TEXT), *arguments])


def test_unknown_dtype_is_refused() -> None:
    with pytest.raises(argparse.ArgumentError, match="--kv-dtype: invalid choice: 'fp8_e5m2'"):
        options("--kv-dtype", "fp8_e5m2")


@pytest.mark.parametrize(
    ("arguments", "kv_dtype"), [((), None), (("--kv-dtype", "fp8_e4m3"), "fp8_e4m3")]
)
def test_reference(arguments: tuple[str, ...], kv_dtype: str | None) -> None:
    parsed = options("--backend", "reference", "--explain", *arguments)
    served = BACKENDS["reference"](parsed, "tiny", TEXT)
    with ExitStack() as stack:
        stack.callback(served.engine.close)
        assert isinstance(served.engine, ReferenceEngine)
        assert served.engine.model.checkpoint.config.kv_dtype == kv_dtype
        assert ("fp8_e4m3" in served.build) == (kv_dtype is not None)
        [extension] = load_extensions(parsed, [served], stack)
        [model] = extension.models.values()  # type: ignore[attr-defined]
        assert model.load().checkpoint.config.kv_dtype == kv_dtype


@pytest.mark.parametrize(
    ("arguments", "kv_dtype"), [((), "auto"), (("--kv-dtype", "fp8_e4m3"), "fp8_e4m3")]
)
def test_jax(arguments: tuple[str, ...], kv_dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def load(directory: Path, *rest: Any, **fields: Any) -> Any:
        given.update(fields)
        raise Stop

    monkeypatch.setattr(launch, "load", load)
    with pytest.raises(Stop):
        BACKENDS["jax"](options(*arguments), "tiny", TEXT)
    assert given["kv_dtype"] == kv_dtype
