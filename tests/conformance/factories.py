"""Results, reports and exchanges for tests that need no server."""

from typing import Any

from conformance.harness.result import Report, Result
from conformance.http.exchange import Exchange
from conformance.verdicts import Depth, Evidence, Level, Verdict


def result(identity: str = "top_p/one", verdict: Verdict = Verdict.PASS, **fields: Any) -> Result:
    defaults: dict[str, Any] = {
        "id": identity,
        "parameter": identity.partition("/")[0],
        "clause": "The requirement.",
        "level": Level.MUST,
        "evidence": Evidence.EXACT,
        "depth": Depth.PROTOCOL,
        "spec": "logits.top_p",
        "verdict": verdict,
    }
    return Result(**defaults | fields)


def result_of_each_verdict() -> list[Result]:
    return [result(f"top_p/{v.lower()}", v, note=f"a note on {v}") for v in Verdict]


def report(results: list[Result], server: str = "one", **fields: Any) -> Report:
    defaults: dict[str, Any] = {
        "server": server,
        "url": "http://127.0.0.1:1/v1",
        "model": "tiny",
        "truth": None,
        "seed": 0,
        "results": results,
        "error_rate": 1e-4,
    }
    return Report(**defaults | fields)


def exchange(**fields: Any) -> Exchange:
    defaults: dict[str, Any] = {
        "method": "POST",
        "url": "http://127.0.0.1:1/v1/completions",
        "headers": {"content-type": "application/json"},
        "body": "{}",
        "status": 200,
    }
    return Exchange(**defaults | fields)
