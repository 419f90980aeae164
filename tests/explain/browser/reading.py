"""The numbers of the page, compared with those of the reference."""

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from reference.bundle import Bundle
from reference.completion import stream
from reference.explain import Explanation, explain
from reference.logits import Logits, probabilities
from reference.params import CompletionParams
from reference.sampler import SamplingHistory, final_logits
from tests.explain.browser.browser import Page

PROMPT = "Once upon a time"
PREFIX = re.compile("^(rank|mass) ")


@dataclass
class Recorded:
    """One token of the reference: its explanation, and the sampler's input."""

    explained: Explanation
    logits: Logits
    history: SamplingHistory

    def final(self, **params: Any) -> np.ndarray:
        """Return the final probabilities with other parameters."""
        history = with_params(self.history, CompletionParams(**params))
        return probabilities(final_logits(self.logits, history))


def with_params(history: SamplingHistory, params: CompletionParams) -> SamplingHistory:
    return SamplingHistory(
        params=params, allowed=history.allowed, present=history.present, counts=history.counts
    )


def record(model: Bundle, prompt: str = PROMPT, **params: Any) -> list[Recorded]:
    """Run the reference, and keep the explanation of each token of choice 0."""
    recorded: list[Recorded] = []

    def sample(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        explained = explain(logits, history, noise)
        copy = SamplingHistory(
            params=history.params,
            allowed=history.allowed.copy(),
            present=history.present.copy(),
            counts=history.counts.copy(),
        )
        recorded.append(Recorded(explained, logits, copy))
        return explained.token

    list(stream(model, prompt, CompletionParams(**params), sample=sample))
    return recorded


def check_columns(page: Page, explained: Explanation) -> None:
    """Assert that the table has the probabilities and the reasons of an explanation."""
    columns = page.columns()
    stages = {stage.name: stage for stage in explained.stages}
    changed = {name for name, stage in stages.items() if stage.changed or len(stage.removed)}
    assert changed | {"model"} == columns.keys()
    rows = list(columns["model"])
    assert set(explained.top_tokens(12)) <= set(rows)
    for name, column in columns.items():
        expected = stages[name].probabilities[rows]
        assert list(column.values()) == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-12)
    removals = {i: explained.removal(i) for i in rows}
    reasons = {i: (step, PREFIX.sub("", text)) for i, (step, text) in page.reasons().items()}
    assert reasons == {
        i: (removal[0], str(removal[1])) for i, removal in removals.items() if removal
    }


def check_draw(page: Page, explained: Explanation) -> None:
    rows = page.draw()
    assert [row[0] for row in rows] == explained.top_scores(5)
    for token, logit, noise, score in rows:
        assert logit == pytest.approx(explained.stages[-1].logits[token], rel=1e-5, abs=1e-6)
        assert noise == pytest.approx(explained.noise[token], rel=1e-5, abs=1e-6)
        assert score == pytest.approx(explained.scores[token], rel=1e-5, abs=1e-5)


def check_axe(page: Page) -> None:
    violations = Axe().run(page.page).response["violations"]
    serious = [v for v in violations if v["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(
        [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in serious], indent=1
    )
