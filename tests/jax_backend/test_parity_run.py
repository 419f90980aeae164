"""Properties outside of a test runner: what is printed, and that a seed leads to the same again."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from conformance.parity.harness import runner
from conformance.parity.harness.backends import Backend, read
from jax_backend import logits as l
from reference.engine import ReferenceEngine
from tests.goldens import GOLDENS

top_k = l.top_k


def run_all(only: str | None, seed: int = 0, *directories: Path) -> tuple[bool, list[str]]:
    """Whether all is right, and the lines that were printed."""
    text = io.StringIO()
    right = runner.run_all("jax", directories, 30, seed, only, Console(file=text))
    return right, text.getvalue().splitlines()


def test_a_line_tells_what_was_tried() -> None:
    right, lines = run_all("logits/top_*")
    assert right
    assert lines[0] == "  logits/top_k: 30 examples"
    assert lines[1].startswith("  logits/top_p: 30 examples, ")
    assert lines[1].endswith(" fell otherwise)")


def test_a_seed_leads_to_the_same_examples() -> None:
    first, again, other = (run_all("logits/top_p", seed) for seed in (1, 1, 2))
    assert first == again != other


def test_the_simplest_failure_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l, "top_k", lambda x, k: top_k(x, k + 1))
    right, lines = run_all("logits/[mt]*")
    assert not right
    [at] = [i for i, line in enumerate(lines) if "FAILS" in line]
    assert lines[at].startswith("  logits/top_k: FAILS: top_k keeps the k likeliest tokens")
    assert any("'k': [0, 0, 1]" in line or "'k': [0, 0, 0]" in line for line in lines[at:])
    assert lines[-1].startswith("  logits/top_p: 30 examples"), "the others are tried as well"


def test_a_pattern_without_a_match_is_no_success() -> None:
    right, lines = run_all("logits/typo")
    assert not right and "logits/typo" in lines[0]


def test_each_directory_is_opened_closed_and_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Path] = []

    def backend(directory: Path) -> Backend:
        model = read(directory)
        engine = ReferenceEngine(model)

        def close() -> None:
            engine.close()
            closed.append(directory)

        return Backend(model, engine, engine, lambda: 0, close)

    backends: dict[str, Any] = {"jax": backend}
    monkeypatch.setattr(runner, "BACKENDS", backends)
    directories = [GOLDENS / "gqa", GOLDENS / "window"]
    right, lines = run_all("engine/requests", 0, *directories)
    assert right and closed == directories
    assert [line.startswith("  engine/requests: 30 examples, ") for line in lines] == [
        False,
        True,
    ] * 2
    right, lines = run_all("text/*", 0, directories[0])
    assert right and sum("left out" in line for line in lines) == 2
