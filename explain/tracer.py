"""From a sampled token to the JSON of its steps and its draw."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from explain.schema import Report
from reference.explain import Explanation, Stage, explain
from reference.logits import Logits
from reference.output_text import TokenDisplay
from reference.sampler import SamplingHistory

MAX_DRAWN = 5  # best scores that are reported

Json = dict[str, Any]


class Tracer:
    """A sampler that explains each token, and takes the first tokens of a choice from `forced`."""

    def __init__(self, display: TokenDisplay, report: Report) -> None:
        self.display, self.report = display, report
        self._json: Json = {}

    def __call__(self, logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        explanation = explain(logits, history, noise)
        position, forced = int(history.counts.sum()), self.report.forced
        token = forced[position] if position < len(forced) else explanation.token
        self._json = self.token_json(explanation, position, token)
        if self.report.logits:
            self._json["logits"] = encode(logits.astype("<f4"))
            self._json["allowed"] = encode(np.packbits(history.allowed, bitorder="little"))
        return token

    def last(self, choice: int) -> bytes:
        """Return the JSON of the token that was sampled last, which is of this choice."""
        return json.dumps({"object": "explain.token", "choice": choice, **self._json}).encode()

    def token_json(self, explanation: Explanation, position: int, token: int) -> Json:
        """Return what is reported about a token, which is not the drawn one if it is forced."""
        rows = explanation.top_tokens(self.report.top)
        rows = list(dict.fromkeys([*rows, token, *explanation.top_scores(2)]))
        return {
            "position": position,
            "id": token,
            "text": self.display.name(token),
            "forced": position < len(self.report.forced),
            "p": float(explanation.stages[0].probabilities[token]),
            "rows": [{"id": i, "text": self.display.name(i)} for i in rows],
            "stages": [stage_json(stage, rows) for stage in explanation.stages],
            "removed": [removal_json(explanation, i) for i in rows],
            "draw": [self.draw_json(explanation, i) for i in explanation.top_scores(MAX_DRAWN)],
        }

    def draw_json(self, explanation: Explanation, token: int) -> Json:
        return {
            "id": token,
            "text": self.display.name(token),
            "logit": float(explanation.stages[-1].logits[token]),
            "noise": float(explanation.noise[token]),
            "score": float(explanation.scores[token]),
        }


def stage_json(stage: Stage, rows: Sequence[int]) -> Json:
    """Return one column. others: the probability of all tokens that have no row."""
    p = stage.probabilities[rows]
    logits = stage.logits[rows]
    return {
        "name": stage.name,
        "changed": stage.changed,
        "kept": stage.kept,
        "removed": len(stage.removed),
        "removed_mass": stage.removed_mass,
        "logits": [float(x) if np.isfinite(x) else None for x in logits],
        "p": p.tolist(),
        "others": stage.others(rows),
    }


def removal_json(explanation: Explanation, token: int) -> Mapping[str, Any] | None:
    """Return the step that removed a token, and the condition; None if the token is left."""
    removal = explanation.removal(token)
    if removal is None:
        return None
    step, reason = removal
    return {"step": step, "text": reason.text, "numbers": dict(reason.numbers)}


def encode(array: np.ndarray) -> str:
    """Return the bytes of an array as base64."""
    return base64.b64encode(array.tobytes()).decode()
