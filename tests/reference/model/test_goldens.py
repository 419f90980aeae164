"""Against what transformers said: logits processors, the tokenizer, greedy texts of the embedded
model.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from reference import logits as l
from reference.bundle import Bundle
from reference.generate import generate
from reference.logits import probabilities
from reference.params import CompletionParams
from reference.request import Request, TokenGenerated

GOLDENS = Path(__file__).parents[2] / "goldens"

STEPS = {
    "repetition_penalty": lambda x, v, seen: l.repetition_penalty(x, seen, v),
    "temperature": lambda x, v, seen: l.temperature(x, v),
    "min_p": lambda x, v, seen: l.min_p(x - x.max(), v),
    "top_k": lambda x, v, seen: l.top_k(x, int(v)),
    "top_p": lambda x, v, seen: l.top_p(x, v),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_does_what_transformers_processor_does(name: str) -> None:
    cases = np.load(GOLDENS / "processors.npz")
    numbers = {key.split("/")[1] for key in cases if key.startswith(name + "/")}
    assert len(numbers) >= 20
    for i in numbers:
        logits, value, tokens, after = (
            cases[f"{name}/{i}/{key}"] for key in ("logits", "value", "tokens", "after")
        )
        seen = np.isin(np.arange(len(logits)), tokens)
        ours = STEPS[name](logits, float(value), seen)
        assert np.isfinite(ours).tolist() == np.isfinite(after).tolist()
        np.testing.assert_allclose(probabilities(ours), probabilities(after), rtol=1e-5, atol=1e-12)


def test_the_tokenizer_reads_the_hard_texts_as_transformers_does(model: Bundle) -> None:
    goldens = json.loads((GOLDENS / "tokenizer.json").read_text())
    assert {text: model.tokenizer.encode(text) for text in goldens} == goldens


def test_greedy_texts_are_those_of_transformers(model: Bundle) -> None:
    goldens = json.loads((GOLDENS / "greedy.json").read_text())
    assert len(goldens) == 20
    for prompt, expected in goldens.items():
        ids = model.tokenizer.encode(prompt)
        params = CompletionParams(temperature=0, max_tokens=64)
        events = generate(model, Request.of(ids, params))
        assert [e.token for e in events if isinstance(e, TokenGenerated)] == expected, prompt
