"""Ends a run whose server does not answer any more."""

import threading
import time
from collections.abc import Sequence

from conformance.harness.result import Result
from conformance.http.client import Server, Target
from conformance.http.exchange import Exchange
from conformance.verdicts import Inconclusive, Outcome, ServerError, Verdict

GONE = "the server is gone"
RETRY_DELAY = 1.0  # seconds, for a server that is restarted
NOT_CONNECTED = ("ConnectError", "ConnectTimeout")


def end_run_if_gone(server: Server, outcome: Outcome) -> Outcome:
    """Return the outcome of a check, after a plain request that tells whether the server is gone.

    If it is, no more requests are sent, and the outcome says which request was in flight.
    """
    if not isinstance(outcome, ServerError):
        return outcome
    target = server.target
    with target.lock:
        lock = target.locks.setdefault("liveness", threading.Lock())
    with lock:
        if target.budget.closed is None and (problem := plain_request_problem(target)):
            target.budget.closed = f"{GONE}: {problem}"
    if not (target.budget.closed or "").startswith(GONE):
        return outcome
    at = outcome.at or server.last
    if not was_in_flight(at):
        return Inconclusive(str(target.budget.closed), at=at)
    return ServerError(f"{GONE} after this request: {outcome.note}", at=at)


def plain_request_problem(target: Target) -> str | None:
    """Return why a plain request fails, twice; None if it succeeds."""
    problem = None
    for delay in 0.0, RETRY_DELAY:
        time.sleep(delay)
        try:
            reply = target.server("liveness").post()
        except ServerError as error:
            problem = error.note
        except Exception:  # busy, unreadable, or no request is left
            return None
        else:
            if reply.status < 500:
                return None
            problem = f"a plain request is answered with {reply.status}"
    return problem


def was_in_flight(at: Exchange | None) -> bool:
    """Return whether a request reached the server before it was gone."""
    return at is not None and not (at.status is None and at.response.startswith(NOT_CONNECTED))


def blamed(target: Target, results: Sequence[Result]) -> dict[str, Result]:
    """Return the result, by its id, that reports a server which stopped between two requests.

    results: in the order in which the checks ended. The last exchange with a response is shown.
    """
    gone = [r for r in results if r.note.startswith(GONE)]
    if not gone or any(r.verdict is Verdict.ERROR for r in gone):
        return {}
    last = target.answered[-1] if target.answered else gone[0].at
    changes = {
        "verdict": Verdict.ERROR,
        "at": last,
        "note": f"{gone[0].note}; last it answered this",
    }
    return {gone[0].id: gone[0].model_copy(update=changes)}
