"""Requests whose grammar is being compiled, on a thread of its own so that others do not wait."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from jax_backend.grammar.token_mask import MatcherState
from reference.request import Request

Compile = Callable[[Request], MatcherState]


class PendingGrammars:
    """Compiles grammars, one after another. compile: may raise any exception."""

    def __init__(self, compile: Compile) -> None:
        self._compile = compile
        self._executor = ThreadPoolExecutor(1, "jax-grammars")
        self._pending: set[int] = set()
        self._lock = threading.Lock()

    def start(
        self,
        request_id: int,
        request: Request,
        on_success: Callable[[MatcherState], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        """Compile the grammar of a request, unless it is canceled before the end.

        What `on_success` queues is queued before whatever follows a `cancel` that returns False.
        """

        def run() -> None:
            result: MatcherState | Exception
            try:
                result = self._compile(request)
            except Exception as error:
                result = error
            with self._lock:
                if request_id not in self._pending:
                    return
                self._pending.remove(request_id)
                if not isinstance(result, Exception):
                    on_success(result)
            if isinstance(result, Exception):
                on_error(result)

        self._pending.add(request_id)
        self._executor.submit(run)

    def cancel(self, request_id: int) -> bool:
        """Return whether the grammar was still to be compiled. Then neither function is called."""
        with self._lock:
            canceled = request_id in self._pending
            self._pending.discard(request_id)
        return canceled

    def compile_ahead(self, request: Request) -> Future[MatcherState]:
        """Compile the grammar of a request that may be admitted later."""
        return self._executor.submit(self._compile, request)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
