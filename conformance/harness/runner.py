"""Runs checks against a server, and turns exceptions into verdicts."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from conformance.harness.capabilities import require_capability
from conformance.harness.causes import explain
from conformance.harness.liveness import blamed, end_run_if_gone
from conformance.harness.registry import Check, all_checks
from conformance.harness.result import FINDINGS, Result
from conformance.http.client import Server, Target
from conformance.http.exchange import truncate
from conformance.verdicts import Evidence, Outcome, ServerError, Verdict

ERROR_RATE = 1e-4  # probability that a conforming server fails any statistical check of a run
MAX_TESTS = 4  # tests in one statistical check


def run(
    target: Target,
    checks: Sequence[Check],
    concurrency: int = 1,
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Run checks, `concurrency` at a time, and return the results in the order of the checks.

    Exclusive checks run last, one by one. on_result: called after each check, on any thread.
    """
    results: dict[str, Result] = {}

    def run_and_report(check: Check) -> None:
        results[check.id] = run_one(target, check)
        on_result(results[check.id])

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(run_and_report, [c for c in checks if not c.exclusive]))
    for check in checks:
        if check.exclusive:
            run_and_report(check)
    results |= blamed(target, list(results.values()))
    return group_by_cause([results[check.id] for check in checks])


def group_by_cause(results: Sequence[Result]) -> list[Result]:
    """Let each finding refer to the first one with the same cause."""
    first: dict[str, str] = {}
    grouped = []
    for result in results:
        if result.cause and result.verdict in FINDINGS:
            primary = first.setdefault(result.cause, result.id)
            if primary != result.id:
                result = result.model_copy(update={"same_as": primary})
        grouped.append(result)
    return grouped


def run_one(target: Target, check: Check) -> Result:
    """Run one check. An unexpected exception is an ERROR, not the end of the run."""
    server, start = target.server(check.id, check_alpha()), time.monotonic()
    outcome = outcome_of(check, server)
    at = None
    if outcome is not None:
        at = outcome.at or server.last

    def printable(text: str) -> str:
        return truncate(server.redact(text))

    return Result(
        id=check.id,
        parameter=check.parameter,
        clause=check.clause,
        level=check.level,
        evidence=check.evidence,
        depth=check.depth,
        spec=check.spec,
        verdict=outcome.verdict if outcome else Verdict.PASS,
        note=printable(outcome.note) if outcome else "",
        cause=printable(outcome.cause) if outcome else "",
        expected=printable(outcome.expected) if outcome else "",
        seen=printable(outcome.seen) if outcome else "",
        at=at,
        requests=server.requests,
        seconds=round(time.monotonic() - start, 3),
    )


def outcome_of(check: Check, server: Server) -> Outcome | None:
    """Return the outcome of a check; None if it passes."""
    try:
        for capability in check.needs:
            require_capability(server, capability)
        check.function(server)
        return None
    except Outcome as raised:
        outcome = raised
    except Exception as error:
        outcome = unreadable(server, error)
    outcome = end_run_if_gone(server, outcome)
    try:
        return explain(server, check.parameter, outcome)
    except Exception:  # no more requests are allowed, or a response is unreadable
        return outcome


def unreadable(server: Server, error: Exception) -> Outcome:
    """Return the outcome for a response whose shape made a check raise `error`."""
    return ServerError(
        f"the response could not be read: {type(error).__name__}: {error}", at=server.last
    )


def check_alpha() -> float:
    """Return the error rate of one test: that of a run, divided by its statistical tests."""
    return ERROR_RATE / MAX_TESTS / sum(c.evidence is Evidence.STATISTICAL for c in all_checks())
