"""The turns of an engine that is one of several.

The leader sends each turn before it applies it. The turn holds the digest of the plan of the turn
before. A follower that has made another plan stops, and so does the whole group.
"""

from jax_backend.multihost.follower import Follower
from jax_backend.multihost.frames import Json
from jax_backend.multihost.leader import Leader
from jax_backend.multihost.messages import (
    CompileLanguage,
    plan_digest,
    request_from_json,
    request_to_json,
)
from jax_backend.serving.changes import Abort, Admit, Change, End, Inbox, Prepare
from jax_backend.serving.scheduling.plan import StepPlan


class Diverged(RuntimeError):
    """A follower has made another plan than the leader."""


class LeaderTurns:
    """Turns of the changes that this process puts, which the followers apply, too."""

    def __init__(self, leader: Leader) -> None:
        self._leader, self._inbox, self._number = leader, Inbox(), 0

    def put(self, change: Change) -> None:
        self._inbox.put(change)

    def take(self, wait: bool, plan: StepPlan | None) -> list[Change]:
        """Raises ConnectionError if a follower is gone."""
        changes = self._inbox.take(wait, plan)
        if any(isinstance(change, End) for change in changes):
            self._leader.end()
            return [End()]
        turn = {
            "type": "turn",
            "number": self._number,
            "digest": plan_digest(plan),
            "changes": [change_to_json(change) for change in changes],
        }
        self._leader.broadcast(turn)
        self._number += 1
        return changes


class FollowerTurns:
    """Turns that the leader has sent."""

    def __init__(self, follower: Follower, compile_language: CompileLanguage) -> None:
        self._follower, self._compile_language = follower, compile_language
        self._number = 0

    def put(self, change: Change) -> None:
        """Accept the end only: requests come from the leader."""
        if not isinstance(change, End):
            raise RuntimeError("a follower has no requests of its own")
        self._follower.leave()

    def take(self, wait: bool, plan: StepPlan | None) -> list[Change]:
        """Raises ConnectionError if the leader is gone, and Diverged."""
        turn = self._follower.receive()
        if turn["type"] == "end":
            return [End()]
        changes = [change_from_json(message, self._compile_language) for message in turn["changes"]]
        if turn["number"] != self._number or turn["digest"] != plan_digest(plan):
            error = Diverged(f"turn {turn['number']}: the plan differs from the leader's")
            self._follower.fail(error)
            raise error
        self._number += 1
        return changes


def change_to_json(change: Change) -> Json:
    match change:
        case Prepare() | Admit():
            kind = "prepare" if isinstance(change, Prepare) else "admit"
            request = request_to_json(change.request)
            return {"change": kind, "id": change.request_id, "request": request}
        case Abort(request_id, choice):
            return {"change": "abort", "id": request_id, "choice": choice}
        case _:
            raise TypeError(f"a turn has no {change!r}")


def change_from_json(message: Json, compile_language: CompileLanguage) -> Change:
    """Return a change. An `Admit` has no grammar, and drops the events of its request."""
    match message["change"]:
        case "prepare":
            request = request_from_json(message["request"], compile_language)
            return Prepare(message["id"], request)
        case "admit":
            request = request_from_json(message["request"], compile_language)
            return Admit(message["id"], request, lambda event: None)
        case kind:
            assert kind == "abort"
            return Abort(message["id"], message["choice"])
