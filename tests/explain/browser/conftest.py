"""Fixtures: the page in headless Chromium, over a server on a socket."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from api.engine import ServedModel
from tests.api.conftest import running_server
from tests.explain.browser.browser import Page, chromium, origin
from tests.explain.conftest import explained_app

HAS_BROWSER = shutil.which("chromium") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder as a lane, and skip them without a browser."""
    for item in items:
        if "tests/explain/browser" in str(item.path):
            item.add_marker(pytest.mark.lane)
            item.add_marker(pytest.mark.skipif(not HAS_BROWSER, reason="chromium is missing"))


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Start Chromium for this folder: Playwright occupies the event loop of the thread, on which
    other tests run their own.
    """
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def address(reference_served: ServedModel) -> Iterator[str]:
    with running_server(explained_app(reference_served)) as address:
        yield address


@contextmanager
def opened(browser: Any, **options: Any) -> Iterator[Page]:
    """Open a page in a context of its own. Asserts that it reports no error on the console and
    requests no other server.
    """
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    page = Page(context.new_page())
    try:
        yield page
    finally:
        context.close()
    assert page.errors == []
    assert page.origins <= {origin(page.address)}


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Page]:
    with opened(browser) as page:
        page.open(address)
        yield page
