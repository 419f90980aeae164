"""The page in Chromium: lessons, URL, other tokens, errors, keyboard, accessibility, sizes."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.engine import ServedModel
from reference.bundle import Bundle
from reference.completion import complete
from reference.params import CompletionParams
from tests.api.conftest import running_server
from tests.explain.browser.browser import Page
from tests.explain.browser.conftest import opened
from tests.explain.browser.reading import check_axe
from tests.explain.conftest import explained_app

PICTURE = Path(__file__).parents[3] / "docs" / "picture.png"
IS_FINISHED = "/^[0-9]+ tokens/.test(document.querySelector('#status').textContent)"
PARAMS = {"temperature": 0.8, "top_p": 0.9, "seed": 7, "max_tokens": 40}


def test_text_is_that_of_a_completion(page: Page, model: Bundle) -> None:
    [completion] = complete(model, "Once upon a time", CompletionParams(**PARAMS))
    shown = page.text.replace("↵", "").removeprefix("Once upon a time")
    assert shown.startswith(completion.text) and "finish_reason: length" in shown


def test_controls_of_all_parameters(page: Page) -> None:
    names = {f for f in vars(CompletionParams())} | {"top"}
    script = "all => all.map(e => e.dataset.name)"
    assert set(page.page.eval_on_selector_all("#controls [data-name]", script)) == names


def test_lesson(page: Page) -> None:
    page.page.click("#lessons >> text=Truncation and ties")
    page.wait_for_run()
    assert page.page.input_value("#parameter-top_k") == "4"
    page.wait_until(IS_FINISHED)
    assert any(step == "top_k" for step, _ in page.reasons().values())
    page.page.click("#lesson >> text=Next")
    page.page.wait_for_selector("#steps-table [data-step=min_p]")
    assert "2 of 4" in page.page.inner_text("#lesson")
    page.page.click("#lesson >> text=Back")
    page.page.wait_for_selector("#steps-table [data-step=top_k]")
    page.page.click("#lesson >> text=Leave the lesson")
    assert not page.page.is_visible("#lesson")


@pytest.mark.parametrize("lesson", range(6))
def test_cards_of_a_lesson_run(page: Page, lesson: int) -> None:
    page.page.click(f"#lessons button >> nth={lesson}")
    for _ in range(10):
        page.wait_until(IS_FINISHED)
        assert page.page.is_visible("#steps-table table")
        if not page.page.locator("#lesson >> text=/^Next$/").count():
            break
        page.page.click("#lesson >> text=/^Next$/")
    assert "6 of 6" not in page.status


def test_reload_restores_the_page(page: Page) -> None:
    page.set("top_k", 12)
    page.set("seed", 2**64 - 1)
    page.set("stop", ".")
    page.run()
    page.page.select_option("#against", "llama.cpp")
    page.select(4)
    before = (page.text, page.columns(), page.page.inner_text("#comparison"))
    page.page.reload()
    page.wait_for_run()
    page.page.wait_for_selector(".comparison")
    assert (page.text, page.columns(), page.page.inner_text("#comparison")) == before
    assert page.page.input_value("#parameter-seed") == str(2**64 - 1)
    assert page.page.input_value("#parameter-stop") == "."
    assert page.page.get_attribute("#tokens [role=option] >> nth=4", "aria-selected") == "true"


def test_other_token_is_continued(page: Page) -> None:
    page.select(2)
    first = page.page.locator("#tokens [role=option]").all_inner_texts()[:2]
    button = page.page.locator("#steps-table .take").first
    taken = (button.get_attribute("aria-label") or "").partition("“")[2].rstrip("”")
    button.click()
    page.page.wait_for_selector("#choices .forced")
    page.wait_for_run()
    tokens = page.page.locator("#tokens [role=option]").all_inner_texts()
    assert tokens[:2] == first and tokens[2].strip() == taken.strip()
    assert page.page.locator("#tokens .forced").count() == 3
    page.page.click("#choices .forced")
    page.wait_until("!document.querySelector('#choices .forced')")


def test_definition_has_source_and_decisions(page: Page) -> None:
    page.page.click("#steps-table thead button:has-text('top_p')")
    dialog = page.page.locator("#definition")
    text = dialog.inner_text()
    assert "Nucleus sampling" in text and "def top_p(" in text and "2. Truncation keeps" in text
    page.page.click("#definition summary >> nth=0")
    page.page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.page.click("#draw-definition")
    assert "def gumbel_argmax(" in dialog.inner_text()


def test_curl_command_is_the_request(page: Page) -> None:
    page.page.click("#request summary")
    command = page.page.inner_text("#curl")
    assert command.startswith(f"curl {page.address}/v1/completions")
    body = json.loads(command.partition("-d '")[2].rstrip("'"))
    assert body == {"model": "tiny-text", "prompt": "Once upon a time"} | PARAMS
    assert json.loads(page.page.inner_text("#response"))["object"] == "text_completion"


def test_invalid_values_are_shown_at_their_control(browser: Any, address: str) -> None:
    with opened(browser) as page:
        page.open(address)
        page.expected.add("422")
        page.set("n", 9)
        page.page.click("#run")
        page.page.wait_for_selector("#parameter-n-error:not(:empty)")
        assert page.page.get_attribute("#parameter-n", "aria-invalid") == "true"
        page.set("n", 2)
        page.run()
        assert page.page.get_attribute("#parameter-n", "aria-invalid") == "false"
        page.page.click("#choices >> text=choice 1")
        assert page.page.get_attribute("#choices >> text=choice 1", "aria-pressed") == "true"


def test_page_survives_a_server_that_stops(browser: Any, reference_served: ServedModel) -> None:
    with opened(browser) as page:
        with running_server(explained_app(reference_served)) as address:
            page.open(address)
            text = page.text
        page.expected.add("ERR_CONNECTION")
        page.page.click("#run")
        page.page.wait_for_selector("#status.failed")
        assert "does not answer" in page.status
        page.set("temperature", 1.3)
        assert page.page.is_enabled("#run")
        assert text.startswith("Once upon a time")


def test_stream_that_ends_early_keeps_its_tokens(page: Page) -> None:
    body = {"model": "tiny-text", "prompt": "Once upon a time", "max_tokens": 8, "seed": 1}
    whole = httpx.post(f"{page.address}/v1/explain", json=body | {"logits": True}).text
    part = "\n\n".join(whole.split("\n\n")[:8]) + "\n\ndata: {"
    page.page.route("**/v1/explain", lambda route: route.fulfill(body=part))
    page.page.click("#run")
    page.page.wait_for_selector("#status.failed")
    assert "ended early" in page.status
    assert 1 <= page.page.locator("#tokens [role=option]").count() < 8
    assert page.page.is_visible("#steps-table table")
    page.page.unroute("**/v1/explain")
    page.run()
    assert page.page.locator("#tokens [role=option]").count() == 40


def test_key_is_requested(browser: Any, reference_served: ServedModel) -> None:
    with (
        running_server(explained_app(reference_served, keys=["secret"])) as address,
        opened(browser) as page,
    ):
        page.address = address
        page.expected.add("401")
        page.page.goto(address)
        page.page.fill("#key", "wrong")
        page.page.click("#run")
        page.page.wait_for_selector("#status.failed")
        page.page.fill("#key", "secret")
        page.run()
        assert "secret" not in page.page.url
        page.page.click("#request summary")
        assert "$API_KEY" in page.page.inner_text("#curl")


def test_keyboard(page: Page) -> None:
    page.page.focus("#tokens [role=option] >> nth=0")
    for press, position in ("ArrowRight", 1), ("End", 39), ("ArrowLeft", 38), ("Home", 0):
        page.page.keyboard.press(press)
        selector = f"#tokens [role=option] >> nth={position}"
        assert page.page.get_attribute(selector, "aria-selected") == "true"
        assert page.page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    page.page.fill("#prompt", "The lamp")
    page.page.keyboard.press("Control+Enter")
    page.wait_until("document.querySelector('.prompt').textContent === 'The lamp'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_accessibility(browser: Any, address: str, scheme: str, width: int) -> None:
    """No serious violation of axe, and no part of the page is wider than the screen."""
    with opened(browser, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        page.open(address, "#prompt=Once+upon+a+time&top_k=5&max_tokens=12&seed=7&against=vLLM")
        page.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        check_axe(page)
        page.page.click("#steps-table thead button >> nth=0")
        check_axe(page)


def test_image(browser: Any) -> None:
    from tests.conftest import serve

    served = serve("reference", "vision")
    prompt = "<image>\nQ: What is in the picture?\nA:"
    with running_server(explained_app(served)) as address, opened(browser) as page:
        page.address = address
        page.page.goto(address)
        page.page.wait_for_selector("#parameter-data", state="attached")
        page.page.fill("#prompt", prompt)
        page.page.set_input_files("#parameter-data", PICTURE)
        page.set("temperature", 0)
        page.page.wait_for_selector(".previews img", state="attached")
        page.run()
        page.wait_until("/stars/.test(document.querySelector('#tokens').textContent)")
        assert "three purple stars" in page.text
        assert re.search(r"prompt=", page.page.url) and "base64" not in page.page.url
    served.engine.close()
