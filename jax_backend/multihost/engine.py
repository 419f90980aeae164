"""The engine of a follower: it computes what the leader's computes, and drops the events."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from jax_backend.grammar.token_mask import MatcherState
from jax_backend.serving.changes import Abort, Admit, Change, Prepare
from jax_backend.serving.engine import JaxEngine
from reference.request import Event, Request


class FollowerEngine(JaxEngine):
    """An engine whose turns come from the leader. Grammars compile while the leader's do."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._prepared: dict[int, Future[MatcherState]] = {}  # of requests not yet admitted, by id
        super().__init__(*arguments, **keywords)

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        raise RuntimeError("a follower has no requests of its own")

    def _apply(self, change: Change) -> None:
        match change:
            case Prepare(request_id, request):
                self._prepared[request_id] = self._grammars.compile_ahead(request)
            case Admit(request_id, request, on_event):
                self._outputs.callbacks[request_id] = on_event
                future = self._prepared.pop(request_id, None)
                grammar = None if future is None else future.result()
                super()._apply(replace(change, grammar=grammar))
            case Abort(request_id):
                self._prepared.pop(request_id, None)
                super()._apply(change)
