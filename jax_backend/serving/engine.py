"""Continuous batching: one thread schedules a step, launches it on the device and, while it runs,
processes the output of the step before.

    submit, abort → inbox → schedule → launch → process → events, to each request's `on_event`

1. The thread drains the inbox, and schedules and launches step i + 1 while step i is in flight.
2. It waits for the tokens of step i and emits them.
3. Only then it launches the sampling of step i + 1, if that needs token masks: they depend on the
   tokens of step i.

So the host is one step behind the device. A sequence that turns out to have finished has a row too
many in the step in flight; what that row samples is ignored. Drafts are the exception: the tokens
before a draft must be known, and so must be those that a step with drafts has sampled.
"""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from jax_backend.grammar.token_mask import MatcherState
from jax_backend.model.llama import Llama
from jax_backend.model.products import ROWS
from jax_backend.platform import platform
from jax_backend.serving.batch_invariance import (
    decoding_matches_prefill,
    select_column_block,
    single_row_differs,
)
from jax_backend.serving.drafting.drafter import LookupDrafter
from jax_backend.serving.drafting.policy import ACCELERATOR_COSTS, CPU_COSTS
from jax_backend.serving.executor import Executor, InFlightStep
from jax_backend.serving.outputs import OutputProcessor
from jax_backend.serving.scheduling.scheduler import Scheduler, engine_stats
from jax_backend.serving.settings import Progress, Settings
from jax_backend.serving.warmup import warm_up
from reference.request import EngineStats, Event, Request
from reference.tokenizer.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

DEFAULTS = Settings()
Inbox = queue.SimpleQueue[Callable[[], None] | None]  # changes for the thread; None ends it


class JaxEngine:
    """The engine: `submit`, `abort`, `stats` and `close`, and a stream of events per request."""

    def __init__(
        self,
        model: Llama,
        eos_token_ids: tuple[int, ...],
        vocabulary: Vocabulary,
        settings: Settings = DEFAULTS,
        progress: Progress = lambda name, done, total: None,
    ) -> None:
        eos = frozenset(eos_token_ids)
        if settings.batch_invariant:
            model.column_block = select_column_block(model, settings.batch_sizes)
            model.prefill_block = ROWS
            if single_row_differs(model, settings.batch_sizes):
                settings = replace(settings, batch_sizes=settings.batch_sizes[1:])
        self.executor = Executor(model, eos, vocabulary, settings)
        warm_up(self.executor, progress)
        self.scheduler = scheduler_of(self.executor)
        self._outputs = OutputProcessor(self.scheduler, self.executor, eos)
        self._request_ids = itertools.count()
        self._inbox: Inbox = queue.SimpleQueue()
        self._closing = False
        self._step_started: float | None = None  # time.monotonic() of the step in progress
        self._grammar_compiler = ThreadPoolExecutor(1, "jax-grammars")
        if settings.speculate == "lookup":
            self.scheduler.row_planner.drafter = lookup_drafter(self.executor)
        self._thread = threading.Thread(target=self._run_thread, name="jax-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        """Queue a request and return its id. `on_event` is called on the engine's thread."""
        request_id = next(self._request_ids)
        self._outputs.callbacks[request_id] = on_event
        if request.language is None:
            self._inbox.put(partial(self._admit_request, request_id, request, on_event, None))
        else:
            self._grammar_compiler.submit(self._compile_grammar, request_id, request, on_event)
        if self._closing:
            self._outputs.finish_request(request_id, RuntimeError("the engine is down"))
        return request_id

    def abort(self, request_id: int, choice: int | None = None) -> None:
        """Stop one choice, or all, within one decode step. Ignores finished requests."""
        self._inbox.put(partial(self._abort, request_id, choice))

    def stats(self) -> EngineStats:
        """Return the health and load of the engine."""
        unfinished, started = len(self._outputs.callbacks), self._step_started
        return replace(
            engine_stats(self.scheduler, unfinished),
            healthy=self._thread.is_alive() and not self._closing,
            stalled_seconds=0.0 if started is None else time.monotonic() - started,
        )

    def close(self, timeout: float | None = None) -> None:
        """Stop after the step in flight. Unfinished requests end with an error, after `timeout`
        seconds even if the step has not ended.
        """
        self._closing = True
        self._grammar_compiler.shutdown(wait=False, cancel_futures=True)
        self._inbox.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._outputs.finish_all(RuntimeError("the engine hung, and was closed"))

    def _compile_grammar(
        self, request_id: int, request: Request, on_event: Callable[[Event], None]
    ) -> None:
        """Compile a grammar on a thread of its own, so that running requests do not wait."""
        try:
            grammar = self.executor.grammars.start(request)
        except Exception as error:
            self._inbox.put(partial(self._outputs.finish_request, request_id, error))
        else:
            self._inbox.put(partial(self._admit_request, request_id, request, on_event, grammar))

    # The methods below run on the engine's thread.

    def _run_thread(self) -> None:
        try:
            self._loop()
            error: Exception = RuntimeError("the engine was closed")
        except Exception as failure:
            logger.exception("the engine failed")
            error = failure
        self._closing, self._step_started = True, None
        self._outputs.finish_all(error)

    def _loop(self) -> None:
        in_flight: InFlightStep | None = None
        while True:
            idle = in_flight is None and not self.scheduler.busy
            self._step_started = None if idle else time.monotonic()
            for change in drain(self._inbox, wait=idle):
                if change is None:
                    return
                change()
            if in_flight is not None and self.scheduler.must_wait(in_flight.plan):
                self._outputs.process(in_flight)
                in_flight = None
            # Launch the next step before the tokens of the one in flight are known: the device has
            # them, and decodes on from them.
            plan = self.scheduler.schedule()
            next_step = self.executor.start(plan) if plan else None
            if in_flight is not None:
                self._outputs.process(in_flight)
            # The grammars have advanced by the tokens just processed, so masks can be built.
            in_flight = self.executor.sample(next_step) if next_step else None

    def _admit_request(
        self,
        request_id: int,
        request: Request,
        on_event: Callable[[Event], None],
        grammar: MatcherState | None,
    ) -> None:
        if request_id not in self._outputs.callbacks:
            return  # the engine was closed, or the request was aborted
        try:
            vocab_size = self.executor.vocab_size
            if not 0 <= min(request.prompt) <= max(request.prompt) < vocab_size:
                raise ValueError(
                    f"prompt: token ids must be within 0 … {vocab_size - 1}, "
                    f"got {min(request.prompt)} … {max(request.prompt)}"
                )
            if request.images and self.executor.vision is None:
                raise ValueError("images: this model is text only")
            state = self.scheduler.add(request_id, request, on_event)
        except ValueError as error:
            self._outputs.finish_request(request_id, error)
            return
        self._outputs.states[request_id] = state
        if grammar is not None:
            self.executor.grammar_states.add(request_id, grammar, len(state.sequences))

    def _abort(self, request_id: int, choice: int | None) -> None:
        state = self._outputs.states.get(request_id)
        for sequence in state.sequences if state else ():
            if choice in (None, sequence.index) and not sequence.finished:
                self.scheduler.finish(sequence)
        # Without a state, its grammar is still being compiled.
        if state.finished if state else choice is None:
            self._outputs.finish_request(request_id, None)


def scheduler_of(executor: Executor) -> Scheduler:
    """Return a scheduler for the launches that a warmed-up executor has selected."""
    settings = executor.settings
    return Scheduler(
        slots=settings.slots,
        num_pages=settings.num_pages,
        page_size=settings.page_size,
        layout=executor.layout,
        batch_sizes=executor.batch_sizes,
        cache_output=not settings.batch_invariant or decoding_matches_prefill(executor),
        context=executor.context,
    )


def drain(inbox: Inbox, wait: bool) -> Iterator[Callable[[], None] | None]:
    """Yield all changes that have arrived. wait: block until there is one."""
    if wait:
        yield inbox.get()
    while True:
        try:
            yield inbox.get_nowait()
        except queue.Empty:
            return


def lookup_drafter(executor: Executor) -> LookupDrafter:
    """Return the drafter for the batch sizes, the grammars and the vocabulary of an executor."""
    return LookupDrafter(
        executor.batch_sizes,
        CPU_COSTS if platform() == "cpu" else ACCELERATOR_COSTS,
        excluded=executor.eos | executor.disallowed_token_ids,
        num_allowed=executor.grammar_states.num_allowed,
    )
