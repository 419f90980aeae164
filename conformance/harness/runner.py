"""Runs checks against a server."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from conformance.harness.capabilities import demand
from conformance.harness.registry import Check, all_checks
from conformance.harness.result import Result
from conformance.http.client import Server, Target
from conformance.http.exchange import shortened
from conformance.verdicts import Broken, Evidence, Outcome, Verdict

ERROR_RATE = 1e-4  # how likely a server that conforms fails any statistical check of a run
TESTS = 4  # that a statistical check makes at most


def run(
    target: Target,
    checks: Sequence[Check],
    concurrency: int = 1,
    done: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """The results in the order of the checks, `concurrency` of them at a time; those that must be
    alone come last, one by one. done: called after each, on any thread.
    """
    found: dict[str, Result] = {}

    def one(check: Check) -> None:
        found[check.id] = run_one(target, check)
        done(found[check.id])

    with ThreadPoolExecutor(concurrency) as pool:
        list(pool.map(one, [c for c in checks if not c.alone]))
    for check in checks:
        if check.alone:
            one(check)
    return [found[check.id] for check in checks]


def run_one(target: Target, check: Check) -> Result:
    """One check. Whatever goes wrong in it is an ERROR, not the end of the run."""
    server, start = target.server(check.id, alpha_of_each()), time.monotonic()
    outcome = outcome_of(check, server)
    at = None
    if outcome is not None:
        at = outcome.at or server.last

    def shown(text: str) -> str:
        return shortened(server.clean(text))

    return Result(
        id=check.id,
        parameter=check.parameter,
        clause=check.clause,
        level=check.level,
        evidence=check.evidence,
        depth=check.depth,
        rests_on=check.rests_on,
        verdict=outcome.verdict if outcome else Verdict.PASS,
        note=shown(outcome.note) if outcome else "",
        expected=shown(outcome.expected) if outcome else "",
        seen=shown(outcome.seen) if outcome else "",
        at=at,
        requests=server.requests,
        seconds=round(time.monotonic() - start, 3),
    )


def outcome_of(check: Check, server: Server) -> Outcome | None:
    """None if it passes."""
    try:
        for capability in check.needs:
            demand(server, capability)
        check.function(server)
    except Outcome as outcome:
        return outcome
    except Exception as error:
        return misshapen(server, error)
    return None


def misshapen(server: Server, error: Exception) -> Outcome:
    """An answer in which something is not where or what it must be, so that it cannot be judged."""
    return Broken(f"the answer could not be read: {type(error).__name__}: {error}", at=server.last)


def alpha_of_each() -> float:
    """The error rate of a run, shared out among all tests of all statistical checks."""
    return ERROR_RATE / TESTS / sum(c.evidence is Evidence.STATISTICAL for c in all_checks())
