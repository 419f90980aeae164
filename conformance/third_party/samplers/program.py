"""The loop and the values that all programs share. They run with the Python of each engine, and
import no other part of this project.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

Input = Mapping[str, Any]
Answer = dict[str, Any]
Families = Mapping[str, Callable[[Input], Answer]]

PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")


class Unsupported(Exception):
    """The engine lacks what a case needs; the message says what."""


def run(families: Families) -> None:
    """Answer the cases on stdin until it ends."""
    for text in sys.stdin:
        case = json.loads(text)
        answer = {"id": case["id"], **respond(families, case["family"], case["input"])}
        print(json.dumps(answer), flush=True)


def respond(families: Families, family: str, case: Input) -> Answer:
    if family not in families:
        return {"unsupported": True, "reason": "has no such function"}
    try:
        return families[family](case)
    except Unsupported as error:
        return {"unsupported": True, "reason": str(error)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def read(logits: list[float | None]) -> list[float]:
    return [-math.inf if value is None else value for value in logits]


def write(logits: list[float]) -> Answer:
    """Return logits as an answer. A NaN is an error: no distribution has one."""
    if any(math.isnan(value) for value in logits):
        raise ValueError("a logit is NaN")
    return {"logits": [None if value == -math.inf else value for value in logits]}


def require_absent(case: Input, *names: str) -> None:
    """Raise Unsupported if a case needs one of these."""
    for name in names:
        if name in case:
            raise Unsupported(f"has no {name}")
