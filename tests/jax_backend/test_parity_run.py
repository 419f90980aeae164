"""Parity runs from the command line: the printed lines, and reproducibility from a seed."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from conformance.parity import runner
from conformance.parity.harness.backends import Backend, load_bundle
from jax_backend import logits
from reference.engine import ReferenceEngine
from tests.goldens import GOLDENS

top_k = logits.top_k


def run_all(only: str | None, seed: int = 0, *directories: Path) -> tuple[bool, list[str]]:
    """Return whether all properties hold, and the printed lines."""
    text = io.StringIO()
    passed = runner.run_all("jax", directories, 30, seed, only, Console(file=text))
    return passed, text.getvalue().splitlines()


def test_coverage_is_printed() -> None:
    passed, lines = run_all("logits/top_*")
    assert passed
    assert lines[0] == "  logits/top_k: 30 examples"
    assert lines[1].startswith("  logits/top_p: 30 examples, ")
    assert lines[1].endswith(" flipped)")


def test_examples_depend_on_the_seed() -> None:
    first, again, different = (run_all("logits/top_p", seed) for seed in (1, 1, 2))
    assert first == again != different


def test_simplest_failure_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits, "top_k", lambda x, k: top_k(x, k + 1))
    passed, lines = run_all("logits/[mt]*")
    assert not passed
    [at] = [i for i, line in enumerate(lines) if "FAILS" in line]
    assert lines[at].startswith("  logits/top_k: FAILS: top_k keeps the k most likely tokens")
    assert any("'k': [0, 0, 1]" in line or "'k': [0, 0, 0]" in line for line in lines[at:])
    assert lines[-1].startswith("  logits/top_p: 30 examples"), "the next properties are checked"


def test_pattern_without_a_match_fails() -> None:
    passed, lines = run_all("logits/typo")
    assert not passed and "logits/typo" in lines[0]


def test_backend_of_each_directory_is_checked_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Path] = []

    def backend(directory: Path) -> Backend:
        bundle = load_bundle(directory)
        engine = ReferenceEngine(bundle)

        def close() -> None:
            engine.close()
            closed.append(directory)

        return Backend(bundle, engine, engine, lambda: 0, close)

    backends: dict[str, Any] = {"jax": backend}
    monkeypatch.setattr(runner, "BACKENDS", backends)
    directories = [GOLDENS / "gqa", GOLDENS / "window"]
    passed, lines = run_all("engine/requests", 0, *directories)
    assert passed and closed == directories
    assert [line.startswith("  engine/requests: 30 examples, ") for line in lines] == [
        False,
        True,
    ] * 2
    passed, lines = run_all("output_text/*", 0, directories[0])
    assert passed and sum("skipped" in line for line in lines) == 2
