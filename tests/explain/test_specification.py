"""The data about the steps, and the headers of the page."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from explain.page import STATIC
from explain.specification import DESCRIBED, specification
from reference import sampler
from tests.support.coverage import COVERED

ROOT = Path(__file__).parents[2]


def test_steps_are_those_of_the_sampler_then_the_draw() -> None:
    names = [step["name"] for step in specification()["steps"]]
    assert names == [*(name for name, _ in sampler.STEPS), "draw"]


@pytest.mark.parametrize("step", specification()["steps"], ids=lambda step: step["name"])
def test_step_has_docstring_and_source(step: dict) -> None:  # type: ignore[type-arg]
    labels = [line["label"] for line in step["lines"]]
    assert step["name"] == "draw" or labels[:2] == ["Meaning", "Boundary"]
    assert step["summary"].endswith(".") and all(line["text"] for line in step["lines"])
    for source in step["sources"]:
        lines = (ROOT / source["path"]).read_text().splitlines()
        definition = source["text"].splitlines()[0]
        assert lines[source["line"] - 1].strip() == definition
        assert definition.startswith(f"def {source['name'].rpartition('.')[2]}(")
        assert "Meaning:" not in source["text"] and '\n    """…"""\n' in source["text"]
        assert [line for line in source["text"].splitlines()[1:] if line[:1].strip()] in ([], [")"])


def test_decisions_are_those_of_the_parameters() -> None:
    for step in DESCRIBED:
        name = "seed" if step.name == "draw" else step.name
        missing = set(COVERED[name].decisions) - set(step.decisions)
        assert not missing, f"{step.name}: decisions {missing}"


def test_decisions_have_title_and_text() -> None:
    for number, record in specification()["decisions"].items():
        assert record["title"].startswith(f"{number}. ") and "**" in record["text"]


def test_page_loads_from_this_server_only(client: TestClient) -> None:
    """A policy that the browser enforces, and files without addresses of other machines."""
    pages = ["/", *(f"/explain/{f.relative_to(STATIC)}" for f in STATIC.rglob("*") if f.is_file())]
    assert "/explain/page.js" in pages
    for path in pages:
        response = client.get(path)
        assert response.status_code == 200
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';") and "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        addresses = re.findall(r"https?://[^\s\"'`)<>]+", response.text)
        allowed = "http://www.w3.org/", "http://127.0.0.1:"
        assert [a for a in addresses if not a.startswith(allowed)] == []
    assert client.get("/explain/../schema.py").status_code == 404
    assert client.get("/explain/missing.js").status_code == 404
