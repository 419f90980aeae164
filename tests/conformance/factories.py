"""Results and reports that no server was asked for."""

from typing import Any

from conformance.harness.result import Report, Result
from conformance.http.exchange import Exchange
from conformance.verdicts import Depth, Evidence, Level, Verdict


def result(identity: str = "top_p/one", verdict: Verdict = Verdict.PASS, **fields: Any) -> Result:
    made: dict[str, Any] = {
        "id": identity,
        "parameter": identity.partition("/")[0],
        "clause": "What must hold.",
        "level": Level.MUST,
        "evidence": Evidence.EXACT,
        "depth": Depth.PROTOCOL,
        "rests_on": "logits.top_p",
        "verdict": verdict,
    }
    return Result(**made | fields)


def one_of_each() -> list[Result]:
    return [result(f"top_p/{v.lower()}", v, note=f"a note on {v}") for v in Verdict]


def report(results: list[Result], server: str = "one", **fields: Any) -> Report:
    made: dict[str, Any] = {
        "server": server,
        "url": "http://127.0.0.1:1/v1",
        "model": "tiny",
        "truth": None,
        "seed": 0,
        "results": results,
        "error_rate": 1e-4,
    }
    return Report(**made | fields)


def exchange(**fields: Any) -> Exchange:
    made: dict[str, Any] = {
        "method": "POST",
        "url": "http://127.0.0.1:1/v1/completions",
        "headers": {"content-type": "application/json"},
        "body": "{}",
        "status": 200,
    }
    return Exchange(**made | fields)
