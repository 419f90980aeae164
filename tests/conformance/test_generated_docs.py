"""The made pages of docs/conformance are those of this code."""

import json

import pytest

from tests.conformance.generate_docs import DOCS, PAGES
from tests.conformance.matrix import FILE
from tests.conformance.mutants import all_mutants


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_as_it_would_be_made_now(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == PAGES[name](), (
        "make it: tests.conformance.generate_docs"
    )


def test_every_mutant_was_run_against_every_check() -> None:
    assert list(json.loads(FILE.read_text())) == [m.id for m in all_mutants()]
