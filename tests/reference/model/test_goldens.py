"""The embedded model against transformers: logits processors, tokenizer, greedy outputs."""

import json
from pathlib import Path

import numpy as np
import pytest

from reference import logits as steps
from reference.bundle import Bundle
from reference.generate import generate
from reference.logits import probabilities
from reference.params import CompletionParams
from reference.request import Request, TokenGenerated

GOLDENS = Path(__file__).parents[2] / "goldens"

STEPS = {
    "repetition_penalty": lambda x, v, present: steps.repetition_penalty(x, present, v),
    "temperature": lambda x, v, present: steps.temperature(x, v),
    "min_p": lambda x, v, present: steps.min_p(x - x.max(), v),
    "top_k": lambda x, v, present: steps.top_k(x, int(v)),
    "top_p": lambda x, v, present: steps.top_p(x, v),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_match_logits_processors(name: str) -> None:
    cases = np.load(GOLDENS / "processors.npz")
    numbers = {key.split("/")[1] for key in cases if key.startswith(name + "/")}
    assert len(numbers) >= 20
    for i in numbers:
        logits, value, tokens, after = (
            cases[f"{name}/{i}/{key}"] for key in ("logits", "value", "tokens", "after")
        )
        present = np.isin(np.arange(len(logits)), tokens)
        result = STEPS[name](logits, float(value), present)
        assert np.isfinite(result).tolist() == np.isfinite(after).tolist()
        np.testing.assert_allclose(
            probabilities(result), probabilities(after), rtol=1e-5, atol=1e-12
        )


def test_tokenizer_matches_transformers(model: Bundle) -> None:
    goldens = json.loads((GOLDENS / "tokenizer.json").read_text())
    assert {text: model.tokenizer.encode(text) for text in goldens} == goldens


def test_greedy_outputs_match_transformers(model: Bundle) -> None:
    goldens = json.loads((GOLDENS / "greedy.json").read_text())
    assert len(goldens) == 20
    for prompt, expected in goldens.items():
        ids = model.tokenizer.encode(prompt)
        params = CompletionParams(temperature=0, max_tokens=64)
        events = generate(model, Request.of(ids, params))
        assert [e.token for e in events if isinstance(e, TokenGenerated)] == expected, prompt
