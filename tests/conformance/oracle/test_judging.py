"""Samples of texts: differences that other checks report are not blamed on a parameter."""

import json
from typing import Any

from starlette.types import ASGIApp

from conformance.harness.registry import all_checks
from conformance.harness.runner import run
from conformance.oracle.judging import TextForm
from conformance.verdicts import Verdict
from reference.bundle import Bundle
from tests.conformance.conftest import Serve, target_at
from tests.conformance.mutations.engine import conforming_app
from tests.conformance.mutations.requests import drop_fields
from tests.conformance.mutations.responses import mutate_response


def change_texts(app: ASGIApp, strip: str) -> ASGIApp:
    """Return a server that removes characters at the end of each text."""

    def change(scope: Any, response: Any) -> Any:
        status, headers, text = response
        if status == 200 and "json" in headers["content-type"]:
            body = json.loads(text)
            for choice in body.get("choices", ()):
                choice["text"] = choice["text"].rstrip(strip)
            text = json.dumps(body)
        return status, headers, text

    return mutate_response(app, change)


def verdicts(served: Any, *ids: str) -> list[Verdict]:
    return [r.verdict for r in run(served, [c for c in all_checks() if c.id in ids])]


DRAWS = "temperature/softmax-of-divided-logits"


def test_dropped_incomplete_character_is_no_fault_of_temperature(
    tiny_model: Bundle, serve_app: Serve
) -> None:
    app = change_texts(conforming_app(tiny_model), "\ufffd")
    with target_at(serve_app(app), tiny_model) as served:
        assert verdicts(served, DRAWS) == [Verdict.PASS]
        assert Verdict.FAIL in verdicts(served, "text/incomplete-character-replaced")


def test_ignored_temperature_is_detected_without_incomplete_characters(
    tiny_model: Bundle, serve_app: Serve
) -> None:
    app = change_texts(drop_fields(conforming_app(tiny_model), "temperature"), "\ufffd")
    with target_at(serve_app(app), tiny_model) as served:
        assert verdicts(served, DRAWS) == [Verdict.FAIL]


def test_form_merges_texts() -> None:
    texts = {" a": 0.5, "a": 0.25, "\ufffd": 0.125, "a\ufffd": 0.125}
    assert TextForm(False, False).merge(texts) == texts
    assert TextForm(True, False).merge(texts) == {"a": 0.75, "\ufffd": 0.125, "a\ufffd": 0.125}
    assert TextForm(False, True).merge(texts) == {" a": 0.5, "a": 0.375, "": 0.125}
