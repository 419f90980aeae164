"""The page of the documentation in Chromium: over a recording, without a server of its own."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docs.site.lessons import fragment
from docs.site.page import write_page
from docs.site.recording import OTHERS, PRESENCE, requests
from reference import threefry
from reference.bundle import Bundle
from reference.explain import explain
from reference.params import CompletionParams
from tests.explain.browser.browser import Page
from tests.explain.browser.conftest import opened
from tests.explain.browser.reading import check_axe, check_columns, check_draw, record, with_params

MAX_BYTES = 3 * 2**20
START = {"temperature": 0.8, "top_p": 0.9, "seed": 7, "max_tokens": 40}
IS_FINISHED = "/^[0-9]+ tokens/.test(document.querySelector('#status').textContent)"


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a missing file is an error on the console of the page."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder on a loopback address."""
    handler = functools.partial(Files, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder below which the page is, as in the site."""
    folder = tmp_path_factory.mktemp("site")
    write_page(folder / "explain")
    return folder


@pytest.fixture(scope="package")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield f"{address}/explain"


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Page]:
    with opened(browser) as page:
        page.open(address)
        yield page


def test_size_of_the_recording(folder: Path) -> None:
    sizes = [path.stat().st_size for path in folder.glob("explain/recording/*")]
    assert 1e5 < sum(sizes) <= MAX_BYTES


def test_first_text_is_the_reference(page: Page, model: Bundle) -> None:
    recorded = record(model, **START)
    assert page.page.locator("#tokens [role=option]").count() == len(recorded)
    for position in 0, 17, 39:
        page.select(position)
        check_columns(page, recorded[position].explained)
        check_draw(page, recorded[position].explained)
    assert "recorded logits of the reference" in page.page.inner_text("#steps-note")
    page.page.click("#request summary")
    assert json.loads(page.page.inner_text("#response"))["object"] == "text_completion"
    assert page.page.inner_text("#curl").startswith("curl http://127.0.0.1:8000/v1/completions")


CHANGES: list[dict[str, Any]] = [
    {"temperature": 1.7, "top_p": 0.6},
    {"repetition_penalty": 1.6, "frequency_penalty": 1.1, "presence_penalty": -0.7},
    {"seed": 2**64 - 1, "min_p": 0.1, "top_k": 5},
    {"temperature": 0},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_changed_settings_are_computed_as_by_the_reference(
    page: Page, model: Bundle, changes: dict[str, Any]
) -> None:
    """The columns and the draw of a recorded text, with other settings."""
    recorded, text = record(model, **START), page.text
    for name, value in changes.items():
        page.set(name, value)
    params = CompletionParams(**START | changes)
    for position in 11, 3:
        page.select(position)
        token = recorded[position]
        noise = threefry.noise(params.seed or 0, 0, position, model.vocab_size)
        explained = explain(token.logits, with_params(token.history, params), noise)
        check_columns(page, explained)
        check_draw(page, explained)
    assert "Recomputed in this page" in page.page.inner_text("#steps-note") and page.text == text


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_text_of_other_settings_goes_as_far_as_the_recording(
    page: Page, model: Bundle, changes: dict[str, Any]
) -> None:
    for name, value in changes.items():
        page.set(name, value)
    page.run()
    page.wait_until(IS_FINISHED)
    expected = record(model, **START | changes)
    count = page.page.locator("#tokens [role=option]").count()
    assert 1 <= count <= len(expected)
    page.select(count - 1)
    check_columns(page, expected[count - 1].explained)
    check_draw(page, expected[count - 1].explained)
    is_cut = "not recorded from here" in page.text
    assert is_cut == ("make run" in page.status) == (count < len(expected))
    page.page.click("#request summary")
    if is_cut:
        assert page.page.inner_text("#response").startswith("Not recorded")


def test_prompts_are_a_list_of_the_recorded_ones(page: Page, model: Bundle) -> None:
    prompts = list(dict.fromkeys(request["prompt"] for request in requests()))
    values = "all => all.map(e => e.value)"
    assert page.page.eval_on_selector_all("#prompt option", values) == prompts
    page.page.select_option("#prompt", PRESENCE["prompt"])
    page.wait_until(IS_FINISHED)
    expected = record(model, PRESENCE["prompt"], **START)
    check_columns(page, expected[0].explained)
    page.page.click("summary:has-text('Structured output')")
    page.page.select_option("#parameter-response_format", "regex")
    page.page.click("#run")
    page.page.wait_for_selector("#parameter-response_format-error:not(:empty)")
    page.page.select_option("#prompt", "The lamp is")
    page.wait_until(IS_FINISHED)
    assert page.page.input_value("#parameter-response_format") == "regex"
    assert ("response_format", "not allowed") in page.reasons().values()
    page.page.select_option("#prompt", prompts[0])
    page.wait_until(IS_FINISHED)
    assert page.page.input_value("#parameter-response_format") == "any text"


def test_controls_that_need_a_server_are_disabled_with_the_reason(page: Page) -> None:
    for name in "logprobs", "echo", "stream", "user", "data":
        control = f"[data-name={name}]"
        assert page.page.is_disabled(f"#parameter-{name}")
        assert "server" in (page.page.text_content(f"{control} .help strong") or "")
    assert page.page.is_enabled("#parameter-temperature")
    assert "Recorded:" in page.page.inner_text(".banner")


@pytest.mark.parametrize("lesson", range(6))
def test_cards_of_a_lesson_are_recorded(page: Page, lesson: int) -> None:
    page.page.click(f"#lessons button >> nth={lesson}")
    for _ in range(10):
        page.wait_until(IS_FINISHED)
        assert page.page.is_visible("#steps-table table")
        assert "not recorded" not in page.page.inner_text("main")
        assert "make run" not in page.status
        if not page.page.locator("#lesson >> text=/^Next$/").count():
            break
        page.page.click("#lesson >> text=/^Next$/")


def test_two_settings_and_other_engines(page: Page, model: Bundle) -> None:
    page.page.click("#pin")
    page.set("top_p", 0.3)
    page.run()
    page.wait_until(IS_FINISHED)
    here, pinned = record(model, **START | {"top_p": 0.3}), record(model, **START)
    page.select(0)
    p, q = (r[0].explained.stages[-1].probabilities for r in (here, pinned))
    variation = page.page.get_attribute(".comparison", "data-variation")
    assert float(variation or "nan") == pytest.approx(np.abs(p - q).sum() / 2, rel=1e-5)
    assert page.page.locator("#other-text [role=option]").count() == len(pinned)
    page.page.select_option("#against", "llama.cpp")
    assert "llama.cpp" in page.page.inner_text("#compare-note")


def test_dial_draws_with_other_seeds(page: Page, model: Bundle) -> None:
    page.select(2)
    final = record(model, **START)[2].explained.stages[-1]
    page.page.click('#dial [data-seed="12"]')
    noise = threefry.noise(12, 0, 2, model.vocab_size)
    assert page.draw()[0][0] == int(np.argmax(final.logits + noise))
    assert "seed=12" in page.page.url


def test_other_token_is_continued_as_far_as_recorded(page: Page) -> None:
    taken = page.page.locator("#steps-table .take").first
    taken.click()
    page.page.wait_for_selector("#choices .forced")
    page.wait_until(IS_FINISHED)
    assert page.page.locator("#tokens .forced").count() == 1
    page.page.click("#choices .forced")
    page.wait_until("!document.querySelector('#choices .forced')")
    page.wait_until("document.querySelectorAll('#tokens [role=option]').length === 40")


def test_settings_in_the_address(browser: Any, address: str, model: Bundle) -> None:
    settings = OTHERS[1]
    with opened(browser) as page:
        page.open(address, fragment(settings, token="2", against="vLLM"))
        page.wait_until(IS_FINISHED)
        recorded = record(model, settings["prompt"], **settings["values"])
        check_columns(page, recorded[2].explained)
        before = (page.text, page.columns(), page.page.inner_text("#comparison"))
        page.page.reload()
        page.wait_for_run()
        page.wait_until(IS_FINISHED)
        assert (page.text, page.columns(), page.page.inner_text("#comparison")) == before


def test_prompt_that_is_not_recorded(browser: Any, address: str) -> None:
    with opened(browser) as page:
        page.address = address
        page.page.goto(f"{address}/#prompt=Twice+upon+a+time")
        page.page.wait_for_selector("#status.failed")
        assert "not recorded" in page.page.inner_text("#prompt-error")
        page.page.select_option("#prompt", "Once upon a time")
        page.wait_for_run()


def test_missing_recording_is_an_error(browser: Any, folder: Path, tmp_path: Path) -> None:
    for name in "index.html", "explain":
        (tmp_path / name).symlink_to(folder / "explain" / name)
    with served(tmp_path) as address, opened(browser) as page:
        page.address = address
        page.expected.add("404")
        page.page.goto(address)
        page.page.wait_for_selector("#status.failed")
        assert "404" in page.status


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_accessibility(browser: Any, address: str, scheme: str, width: int) -> None:
    with opened(browser, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        page.open(address, fragment(PRESENCE, against="vLLM"))
        page.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        check_axe(page)
