"""The generated pages of docs/conformance are up to date."""

import json

import pytest

from tests.conformance.generate_docs import DOCS, PAGES
from tests.conformance.matrix import FILE
from tests.conformance.mutants import all_mutants


@pytest.mark.parametrize("name", PAGES)
def test_page_is_current(name: str) -> None:
    problem = "run python -m tests.conformance.generate_docs"
    assert (DOCS / name).read_text("utf-8") == PAGES[name](), problem


def test_matrix_has_all_mutants() -> None:
    assert list(json.loads(FILE.read_text())) == [m.id for m in all_mutants()]
