"""Continuous batching: one thread schedules a step, launches it on the device and, while it runs,
processes the output of the step before.

    submit, abort → turns → schedule → launch → process → events, to each request's `on_event`

1. The thread takes the changes of a turn (`changes`), and schedules and launches step i + 1 while
   step i is in flight.
2. It waits for the tokens of step i and emits them.
3. Only then it launches the sampling of step i + 1, if that needs token masks: they depend on the
   tokens of step i.

So the host is one step behind the device. A sequence that turns out to have finished has a row too
many in the step in flight; what that row samples is ignored. Drafts are the exception: the tokens
before a draft must be known, and so must be those that a step with drafts has sampled.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from jax_backend.model.llama import Llama
from jax_backend.model.products import ROWS
from jax_backend.platform import platform
from jax_backend.serving.batch_invariance import (
    decoding_matches_prefill,
    select_column_block,
    single_row_differs,
)
from jax_backend.serving.changes import Abort, Admit, Change, End, Inbox, Prepare, Turns
from jax_backend.serving.drafting.drafter import LookupDrafter
from jax_backend.serving.drafting.policy import ACCELERATOR_COSTS, CPU_COSTS
from jax_backend.serving.executor import Executor, InFlightStep
from jax_backend.serving.outputs import OutputProcessor
from jax_backend.serving.pending_grammars import PendingGrammars
from jax_backend.serving.scheduling.plan import StepPlan
from jax_backend.serving.scheduling.scheduler import Scheduler, engine_stats
from jax_backend.serving.settings import Progress, Settings
from jax_backend.serving.warmup import warm_up
from reference.request import EngineStats, Event, Request
from reference.tokenizer.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

DEFAULTS = Settings()


class JaxEngine:
    """The engine: `submit`, `abort`, `stats` and `close`, and a stream of events per request."""

    def __init__(
        self,
        model: Llama,
        eos_token_ids: tuple[int, ...],
        vocabulary: Vocabulary,
        settings: Settings = DEFAULTS,
        progress: Progress = lambda name, done, total: None,
        turns: Turns | None = None,
    ) -> None:
        """Compile and start. turns: by default those of this engine's `submit` and `abort`."""
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
        self._request_ids, self._turns = itertools.count(), turns or Inbox()
        self._closing = self._failed = False
        self._step_started: float | None = None  # time.monotonic() of the step in progress
        self._grammars = PendingGrammars(lambda request: self.executor.grammars.start(request))
        if settings.speculate == "lookup":
            self.scheduler.row_planner.drafter = lookup_drafter(self.executor)
        self._thread = threading.Thread(target=self._run_thread, name="jax-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        """Queue a request and return its id. `on_event` is called on the engine's thread."""
        request_id = next(self._request_ids)
        self._outputs.callbacks[request_id] = on_event
        if request.language is None:
            self._turns.put(Admit(request_id, request, on_event))
        else:
            self._turns.put(Prepare(request_id, request))
            self._grammars.start(
                request_id,
                request,
                lambda grammar: self._turns.put(Admit(request_id, request, on_event, grammar)),
                partial(self._refuse, request_id),
            )
        if self._closing:
            self._outputs.finish_request(request_id, RuntimeError("the engine is down"))
        return request_id

    def abort(self, request_id: int, choice: int | None = None) -> None:
        """Stop one choice, or all, within one decode step. Ignores finished requests."""
        is_pending = choice is None and self._grammars.cancel(request_id)
        self._turns.put(Abort(request_id, choice))
        if is_pending:
            self._outputs.finish_request(request_id, None)

    def stats(self) -> EngineStats:
        """Return the health and load of the engine."""
        unfinished, started = len(self._outputs.callbacks), self._step_started
        return replace(
            engine_stats(self.scheduler, unfinished),
            healthy=self._thread.is_alive() and not self._closing,
            failed=self._failed,
            stalled_seconds=0.0 if started is None else time.monotonic() - started,
        )

    def close(self, timeout: float | None = None) -> None:
        """Stop after the step in flight. Unfinished requests end with an error, after `timeout`
        seconds even if the step has not ended.
        """
        self._closing = True
        self._grammars.close()
        self._turns.put(End())
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._outputs.finish_all(RuntimeError("the engine hung, and was closed"))

    def fail(self, error: Exception) -> None:
        """End every request with an error, also if the step in flight never ends."""
        self._closing = self._failed = True
        self._outputs.finish_all(error)
        self._turns.put(End())

    def _refuse(self, request_id: int, error: Exception) -> None:
        """End a request that has not been admitted with an error."""
        self._turns.put(Abort(request_id))
        self._outputs.finish_request(request_id, error)

    # The methods below run on the engine's thread.

    def _run_thread(self) -> None:
        try:
            self._loop()
            error: Exception = RuntimeError("the engine was closed")
        except Exception as failure:
            logger.exception("the engine failed")
            self._failed, error = True, failure
        self._closing, self._step_started = True, None
        self._outputs.finish_all(error)

    def _loop(self) -> None:
        in_flight: InFlightStep | None = None
        plan: StepPlan | None = None
        while True:
            idle = in_flight is None and not self.scheduler.busy
            self._step_started = None if idle else time.monotonic()
            for change in self._turns.take(idle, plan):
                if isinstance(change, End):
                    return
                self._apply(change)
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

    def _apply(self, change: Change) -> None:
        if isinstance(change, Admit):
            self._admit(change)
        elif isinstance(change, Abort):
            self._abort(change.request_id, change.choice)

    def _admit(self, change: Admit) -> None:
        request_id, request = change.request_id, change.request
        if request_id not in self._outputs.callbacks:
            return  # the engine is being closed
        try:
            check_request(request, self.executor)
            state = self.scheduler.add(request_id, request, change.on_event)
        except ValueError as error:
            self._outputs.finish_request(request_id, error)
            return
        self._outputs.states[request_id] = state
        if change.grammar is not None:
            self.executor.grammar_states.add(request_id, change.grammar, len(state.sequences))

    def _abort(self, request_id: int, choice: int | None) -> None:
        state = self._outputs.states.get(request_id)
        for sequence in state.sequences if state else ():
            if choice in (None, sequence.index) and not sequence.finished:
                self.scheduler.finish(sequence)
        if state and state.finished:
            self._outputs.finish_request(request_id, None)


def check_request(request: Request, executor: Executor) -> None:
    """Raise ValueError for token ids outside the vocabulary, and for images without an encoder."""
    lowest, highest, vocab_size = min(request.prompt), max(request.prompt), executor.vocab_size
    if not 0 <= lowest <= highest < vocab_size:
        raise ValueError(
            f"prompt: token ids must be within 0 … {vocab_size - 1}, got {lowest} … {highest}"
        )
    if request.images and executor.vision is None:
        raise ValueError("images: this model is text only")


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


def lookup_drafter(executor: Executor) -> LookupDrafter:
    """Return the drafter for the batch sizes, the grammars and the vocabulary of an executor."""
    return LookupDrafter(
        executor.batch_sizes,
        CPU_COSTS if platform() == "cpu" else ACCELERATOR_COSTS,
        excluded=executor.eos | executor.disallowed_token_ids,
        num_allowed=executor.grammar_states.num_allowed,
    )
