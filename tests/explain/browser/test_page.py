"""The page in Chromium: each number that it shows is the reference's."""

from typing import Any

import numpy as np
import pytest

from conformance.oracle import dialects
from reference import threefry
from reference.bundle import Bundle
from reference.explain import explain
from reference.logits import probabilities
from reference.params import CompletionParams
from tests.explain.browser.browser import Page
from tests.explain.browser.reading import check_columns, check_draw, record, with_params

SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0.7, "top_k": 6, "top_p": 0.8, "repetition_penalty": 1.3, "seed": 11},
    {"temperature": 1.5, "min_p": 0.05, "frequency_penalty": -2, "seed": 2**64 - 1},
    {"temperature": 0, "presence_penalty": 2, "seed": -5},
]


@pytest.mark.parametrize("params", SETTINGS, ids=str)
def test_columns_and_draw_are_the_reference(
    page: Page, model: Bundle, params: dict[str, Any]
) -> None:
    page.set("top_p", 1)
    for name, value in params.items():
        page.set(name, value)
    page.set("max_tokens", 6)
    page.run()
    recorded = record(model, **params, max_tokens=6)
    for position in 0, 5, 2:
        page.select(position)
        check_columns(page, recorded[position].explained)
        check_draw(page, recorded[position].explained)
    assert "Computed by the reference" in page.page.inner_text("#steps-note")


def test_sliders_recompute_the_columns_in_the_page(page: Page, model: Bundle) -> None:
    """The history is that of the text; only Run changes the text."""
    before, text = record(model, temperature=0.8, top_p=0.9, seed=7, max_tokens=40), page.text
    page.select(3)
    page.set("temperature", 1.7)
    page.set("top_k", 9)
    page.set("repetition_penalty", 0.6)
    assert "Recomputed in this page" in page.page.inner_text("#steps-note")
    assert page.text == text
    params = CompletionParams(temperature=1.7, top_k=9, top_p=0.9, repetition_penalty=0.6, seed=7)
    recorded = before[3]
    history = with_params(recorded.history, params)
    explained = explain(recorded.logits, history, recorded.explained.noise)
    check_columns(page, explained)
    check_draw(page, explained)


def test_dial_shows_the_draws_of_other_seeds(page: Page, model: Bundle) -> None:
    page.select(2)
    final = record(model, temperature=0.8, top_p=0.9, seed=7, max_tokens=3)[2].explained.stages[-1]
    script = "all => all.map(b => [b.dataset.seed, b.querySelector('.piece').textContent])"
    for seed, text in page.page.eval_on_selector_all("#dial [data-seed]", script):
        drawn = int(np.argmax(final.logits + threefry.noise(int(seed), 0, 2, model.vocab_size)))
        assert text.replace("␣", " ") == model.tokenizer.token_bytes(drawn).decode()
    page.page.click('#dial [data-seed="12"]')
    assert page.page.input_value("#parameter-seed") == "12"
    noise = threefry.noise(12, 0, 2, model.vocab_size)
    assert page.draw()[0][0] == int(np.argmax(final.logits + noise))
    page.page.click("text='+'")
    assert page.page.get_attribute("#dial [aria-pressed=true]", "data-seed") == "16"


def test_two_settings_side_by_side(page: Page, model: Bundle) -> None:
    page.page.click("#pin")
    page.set("top_p", 0.3)
    page.set("temperature", 1.2)
    page.run()
    pinned = {"temperature": 0.8, "top_p": 0.9, "seed": 7}
    here = {"temperature": 1.2, "top_p": 0.3, "seed": 7}
    recorded = record(model, **here, max_tokens=40)
    other = record(model, **pinned, max_tokens=40)
    tokens = [[r.explained.token for r in run] for run in (recorded, other)]
    first = next(i for i, (a, b) in enumerate(zip(*tokens, strict=False)) if a != b)
    page.select(first)
    p, q = recorded[first].final(**here), recorded[first].final(**pinned)
    variation = page.page.get_attribute(".comparison", "data-variation")
    assert float(variation or "nan") == pytest.approx(np.abs(p - q).sum() / 2, rel=1e-5)
    facts = page.page.inner_text(".facts")
    assert f"{(p > 0).sum()} here, {(q > 0).sum()} pinned" in facts
    assert f"number {first + 1}:" in facts
    different = page.page.eval_on_selector_all(
        "#tokens [role=option]", "all => all.findIndex(e => e.classList.contains('different'))"
    )
    assert different == first
    assert page.page.locator("#other-text [role=option]").count() == len(other)


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("top_k by rank: ties are cut", dialects.chain(top_k=dialects.top_k_by_rank)),
        ("temperature after truncation", dialects.temperature_last),
        (
            "transformers",
            dialects.chain(
                (*dialects.STEP_NAMES[:5], "top_k", "top_p", "min_p"), top_p=dialects.top_p_by_rank
            ),
        ),
    ],
)
def test_other_engines(page: Page, model: Bundle, name: str, chain: dialects.Chain) -> None:
    params = {"temperature": 1.9, "top_p": 0.8, "min_p": 0.02, "top_k": 30, "seed": 3}
    for parameter, value in params.items():
        page.set(parameter, value)
    page.set("max_tokens", 12)
    page.run()
    page.page.select_option("#against", name)
    recorded = record(model, **params, max_tokens=12)
    differences = []
    for position, token in enumerate(recorded):
        final = chain(token.logits, token.history)
        if int(np.argmax(final + token.explained.noise)) != token.explained.token:
            differences.append(position)
        if position == 4:
            page.select(position)
            p, q = token.explained.stages[-1].probabilities, probabilities(final)
            variation = page.page.get_attribute(".comparison", "data-variation")
            expected = np.abs(p - q).sum() / 2
            assert float(variation or "nan") == pytest.approx(expected, rel=1e-5, abs=1e-9)
    facts = page.page.inner_text(".facts")
    assert (f"number {differences[0] + 1}:" if differences else "none in this text") in facts


def test_grammar_masks(page: Page, model: Bundle) -> None:
    page.page.click("summary:has-text('Structured output')")
    page.page.select_option("#parameter-response_format", "JSON object")
    page.run()
    params = {"temperature": 0.8, "top_p": 0.9, "seed": 7, "max_tokens": 40}
    recorded = record(model, **params, response_format={"type": "json_object"})
    for position in 3, 0:
        page.select(position)
        check_columns(page, recorded[position].explained)
    assert ("response_format", "not allowed") in page.reasons().values()
