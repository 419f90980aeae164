"""Output processing: from the arrays of a step to events, and to the end of requests.

It runs on the engine's thread; only `finish_request` and `finish_all` may be
called from any thread.
"""

import logging
import time
from collections.abc import Callable, Sequence

import jax

from jax_backend.serving.executor import Executor, InFlightStep
from jax_backend.serving.scheduling.plan import DecodeRow, Prefill, PrefillSegment, RequestState
from jax_backend.serving.scheduling.rows import accepted_rows
from jax_backend.serving.scheduling.scheduler import Scheduler
from jax_backend.serving.state import PromptLogprobs, SampleOutput
from jax_backend.stopping import finish
from reference.request import (
    Event,
    PromptProcessed,
    RequestFinished,
    TokenGenerated,
    TokenLogprobs,
)

logger = logging.getLogger(__name__)


class OutputProcessor:
    """Turns the results of steps into events.

    callbacks: of all unfinished requests. states: of those that the scheduler has. eos: ids that
    end a sequence.
    """

    def __init__(self, scheduler: Scheduler, executor: Executor, eos: frozenset[int]) -> None:
        self.scheduler, self.executor, self.eos = scheduler, executor, eos
        self.callbacks: dict[int, Callable[[Event], None]] = {}
        self.states: dict[int, RequestState] = {}

    def process(self, step: InFlightStep) -> None:
        """Wait for the results of a step and emit its events."""
        if step.prompt_logprobs is not None:
            values = jax.device_get(step.prompt_logprobs)
            for segment in step.plan.segments:
                self._collect_prompt_logprobs(segment, values)
        for prefill in step.plan.completed:
            self._emit_prompt(prefill)
        if step.sampled is not None:
            output = fetch(step.sampled, step.plan.rows)
            tokens, finite = output.token.tolist(), output.finite.tolist()
            for i, row in accepted_rows(step.plan.rows, tokens):
                if row.is_needed:
                    error: Exception | None = step.mask_errors.get(i)
                    if error is None and not finite[i]:
                        error = ValueError("the model's logits are not finite")
                    self._emit_token(row, tokens[i], output, i, error)

    def finish_request(self, request_id: int, error: Exception | None) -> None:
        """Drop the state of a request, and emit its last event unless that has been emitted."""
        self.states.pop(request_id, None)
        self.executor.release(request_id)
        on_event = self.callbacks.pop(request_id, None)
        if on_event is not None:
            self._emit(on_event, RequestFinished(error=error))

    def finish_all(self, error: Exception) -> None:
        """End every request with an error."""
        for request_id in list(self.callbacks):
            self.finish_request(request_id, error)

    def fail(self, state: RequestState, error: Exception) -> None:
        """End all sequences of a request, and the request with an error."""
        for sequence in state.sequences:
            if not sequence.finished:
                self.scheduler.finish(sequence)
        self.finish_request(state.request_id, error)

    def _emit(self, on_event: Callable[[Event], None], event: Event) -> None:
        try:
            on_event(event)
        except Exception:
            logger.exception("the callback of a request failed")

    def _collect_prompt_logprobs(self, segment: PrefillSegment, values: PromptLogprobs) -> None:
        """Append an entry for the token after each token of a segment, None for image tokens."""
        request, entries = segment.prefill.state.request, segment.prefill.prompt_logprobs
        if entries is None:
            return
        first_row = segment.index * self.executor.settings.segment_size
        for i in range(segment.num_tokens):
            position, top = segment.start + i + 1, request.params.logprobs or 0
            if request.images_within(position, position + 1):
                entries.append(None)
            else:
                token = request.prompt[position]
                entries.append(token_logprobs(token, values, first_row + i, top))

    def _emit_prompt(self, prefill: Prefill) -> None:
        state, entries = prefill.state, prefill.prompt_logprobs
        if state.request_id not in self.callbacks:
            return  # aborted during prefill
        assert state.start_time is not None
        event = PromptProcessed(
            cached_tokens=state.cached_tokens or 0,
            prompt_logprobs=None if entries is None else tuple(entries),
            queue_seconds=state.start_time - state.arrival_time,
            prefill_seconds=time.monotonic() - state.start_time,
        )
        self._emit(state.on_event, event)

    def _emit_token(
        self, row: DecodeRow, token: int, output: SampleOutput, i: int, error: Exception | None
    ) -> None:
        """Emit the token of row i, or end its request with an error."""
        sequence, state = row.sequence, row.sequence.state
        if row.is_draft:
            self.scheduler.row_planner.accept(row)
        if error is not None:
            self.fail(state, error)
            return
        params = state.request.params
        sequence.tokens.append(token)
        reason, stop = finish(
            token, len(sequence.tokens), state.budget, self.eos, params.stop_token_ids
        )
        grammar = self.executor.grammar_states.of(sequence)
        if reason is None and grammar is not None:
            grammar.push(token)
        top = params.logprobs
        event = TokenGenerated(
            choice=sequence.index,
            token=token,
            logprobs=None if top is None else token_logprobs(token, output, i, top),
            finish_reason=reason,
            stop_reason=stop,
        )
        self._emit(state.on_event, event)
        if reason is not None:
            self.scheduler.finish(sequence)
            if state.finished:
                self.finish_request(state.request_id, None)


def fetch(sampled: SampleOutput, rows: Sequence[DecodeRow]) -> SampleOutput:
    """Copy the results of a step to the host: the log-probabilities only if a row returns them."""
    if all(row.sequence.state.request.params.logprobs is None for row in rows):
        sampled = sampled._replace(logprob=None, top=None, top_ids=None)
    return jax.device_get(sampled)


def token_logprobs(
    token: int, values: SampleOutput | PromptLogprobs, i: int, top: int
) -> TokenLogprobs:
    """Return the entry of row i: its token, and the `top` highest with the token appended unless it
    is one of them.
    """
    ids, highest = values.top_ids[i, :top].tolist(), values.top[i, :top].tolist()
    value = float(values.logprob[i])
    extra = () if token in ids else ((token, value),)
    return TokenLogprobs(token, value, (*zip(ids, highest, strict=True), *extra))
