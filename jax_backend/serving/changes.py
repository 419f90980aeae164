"""Changes of the set of requests, as data, in the order in which the engine's thread applies them.

A turn of the engine's loop takes all changes that have arrived. What follows, the plan of the step
included, depends only on the turns so far: an engine on another host that takes the same turns
makes the same plans (`jax_backend.multihost`).
"""

import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jax_backend.grammar.token_mask import MatcherState
from jax_backend.serving.scheduling.plan import StepPlan
from reference.request import Event, Request


@dataclass(frozen=True, eq=False)
class Prepare:
    """A request that will be admitted if its grammar compiles."""

    request_id: int
    request: Request


@dataclass(frozen=True, eq=False)
class Admit:
    """A new request. grammar: the compiled `request.language`."""

    request_id: int
    request: Request
    on_event: Callable[[Event], None]
    grammar: MatcherState | None = None


@dataclass(frozen=True)
class Abort:
    """The end of one choice of a request, or of all. Ignored if the request has ended."""

    request_id: int
    choice: int | None = None


class End:
    """The end of the engine."""


Change = Prepare | Admit | Abort | End


class Turns(Protocol):
    """Source of the turns of the engine's thread. Any thread may `put` a change."""

    def put(self, change: Change) -> None: ...

    def take(self, wait: bool, plan: StepPlan | None) -> list[Change]:
        """Return the changes of the next turn. wait: block until there is one. plan: that of the
        turn before.
        """


class Inbox:
    """Turns of the changes that this process puts."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Change] = queue.SimpleQueue()

    def put(self, change: Change) -> None:
        self._queue.put(change)

    def take(self, wait: bool, plan: StepPlan | None) -> list[Change]:
        changes = [self._queue.get()] if wait else []
        while True:
            try:
                changes.append(self._queue.get_nowait())
            except queue.Empty:
                return changes
