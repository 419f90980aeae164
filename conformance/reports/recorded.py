"""A report as a small file that is kept: short texts, and no clauses, which the checks have."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from conformance.harness.registry import Check, all_checks
from conformance.harness.result import FINDINGS, Report, Result
from conformance.http.exchange import Exchange

MAX_TEXT = 300  # characters of a value or of a response
MAX_BODY = 600  # of a request
OF_CHECK = ("parameter", "clause", "level", "evidence", "depth", "spec")


def compact(report: Report) -> str:
    """Return a report as JSON with a line for each result, without what its check says."""
    head = report.model_dump(mode="json", exclude={"results"})
    lines = [json.dumps(r, ensure_ascii=False) for r in without_repetition(report.results)]
    text = json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}")
    return f'{text},\n "results": [\n' + ",\n".join(lines) + "\n ]\n}\n"


def without_repetition(results: Sequence[Result]) -> Iterator[dict[str, Any]]:
    """Yield short results. Of those that have no finding and one reason, such as a refusal of a
    parameter that several checks need, only the first has an exchange.
    """
    shown: set[str] = set()
    for result in results:
        reason = result.note or result.cause
        if result.verdict not in FINDINGS and reason in shown:
            result = result.model_copy(update={"at": None, "expected": "", "seen": ""})
        shown.add(reason)
        yield shortened(result)


def shortened(result: Result) -> dict[str, Any]:
    """Return the fields of a result that differ from their default, with short texts."""
    at = result.at and result.at.model_copy(
        update={
            "body": result.at.body[:MAX_BODY],
            "whole": result.at.whole and len(result.at.body) <= MAX_BODY,
            "response": short(result.at.response),
        }
    )
    texts = {name: short(getattr(result, name)) for name in ("note", "expected", "seen")}
    copy = result.model_copy(update={"at": at, "seconds": 0.0, "requests": 0, **texts})
    return copy.model_dump(mode="json", exclude=set(OF_CHECK), exclude_defaults=True)


def short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def restore(text: str) -> Report:
    """Return the report of a file, with the clauses of the checks as they are today.

    A result whose check does not exist any more is left out. Raises ValueError for another file.
    """
    content = json.loads(text)
    if not isinstance(content, dict) or not isinstance(content.get("results"), list):
        raise ValueError("is not a report: it has no list of results")
    checks = {check.id: check for check in all_checks()}
    known = [r for r in content["results"] if isinstance(r, dict) and str(r.get("id")) in checks]
    results = [described(r, checks[r["id"]]) for r in known]
    return Report.model_validate(content | {"results": results})


def described(result: Mapping[str, Any], check: Check) -> dict[str, Any]:
    """Return a result with what its check says, and an exchange with all its fields."""
    own = {name: getattr(check, name) for name in OF_CHECK}
    at = result.get("at")
    return own | dict(result) | ({"at": Exchange.model_validate(at)} if at else {})
