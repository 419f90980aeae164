"""The links of the documentation site, its pages of parameters, and a whole build."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from docs.site.__main__ import ROOT
from docs.site.links import SourceLinks
from docs.site.parameters import docstring, parameter_pages
from reference import logits
from tests.support.coverage import CONTRACT

PAGE = Path("docs/page.md")


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[a](../reference/logits.py)", "[a](../source/reference/logits.py.md)"),
        ("[a](../reference/logits.py#L3)", "[a](../source/reference/logits.py.md)"),
        ("[a](../reference)", "[a](../source/reference/index.md)"),
        ("[a](../README.md#start)", "[a](../index.md#start)"),
        ("[a](decisions)", "[a](decisions/index.md)"),
        ("![a](explain.svg) [b](glossary.md)", "![a](explain.svg) [b](glossary.md)"),
        ("[a](https://example.org/x.py)", "[a](https://example.org/x.py)"),
        ("[a](../reference/none.py)", "[a](../reference/none.py)"),
        ("```\n[a](../reference/logits.py)\n```", "```\n[a](../reference/logits.py)\n```"),
    ],
)
def test_links(link: str, expected: str) -> None:
    assert SourceLinks(ROOT).rewrite(link, PAGE) == expected


def test_linked_sources_have_pages() -> None:
    links = SourceLinks(ROOT)
    links.rewrite("[a](../reference/grammar) [b](../pyproject.toml)", PAGE)
    pages = dict(links.pages())
    assert {Path("source/reference/grammar/index.md"), Path("source/pyproject.toml.md")} < set(
        pages
    )
    assert Path("source/reference/grammar/token_mask.py.md") in pages


def test_docstring_lines_become_a_definition_list() -> None:
    text = docstring(inspect.getdoc(logits.top_p) or "")
    assert text.startswith("Nucleus sampling: keep the most likely tokens")
    names = [line.strip("*") for line in text.splitlines() if line.startswith("**")]
    assert names == ["Meaning", "Boundary", "Ties", "Off value", "Source", "Example"]
    assert "```pycon\n>>> logits = np.log(" in text and "\n: 1\\.\n" in text


def test_pages_of_all_parameters() -> None:
    pages = parameter_pages(ROOT)
    assert {path.stem for path in pages} == {*CONTRACT, "index"}
    assert "## Distribution" in pages[Path("parameters/min_p.md")]


@pytest.mark.lane
def test_site_builds_without_warnings_and_a_broken_link_is_one(tmp_path: Path) -> None:
    built = python("-m", "docs.site", tmp_path)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "html/parameters/top_p.html").exists()
    page = tmp_path / "source/docs/glossary.md"
    page.write_text(page.read_text() + "\n[a](nowhere.md)\n")
    again = "from docs.site.__main__ import *; sys.exit(build(Path(sys.argv[1])))"
    broken = python("-c", again, tmp_path)
    assert broken.returncode and "nowhere.md" in broken.stderr


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
