"""Continuous batching: one thread that plans a step, hands it to the device, and, while that runs,
gives out what the step before it drew.

    submit, abort  →  inbox  →  plan  →  device  →  events, to each request's `on_event`

The host is one step behind the device. A choice that turns out to have ended has a row too many in
the step that is under way; what that row draws is not looked at.
"""

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax

from jax_backend.grammar.token_mask import Text
from jax_backend.model.llama import Llama
from jax_backend.serving import step
from jax_backend.serving.executor import Device, Progress, Settings, UnderWay
from jax_backend.serving.plan import Chunk, Job, Reading, Row, finish
from jax_backend.serving.scheduler import Scheduler
from reference.request import (
    EngineStats,
    Event,
    PromptProcessed,
    Request,
    RequestFinished,
    TokenGenerated,
    TokenLogprobs,
)
from reference.tokenizer.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

DEFAULTS = Settings()


class JaxEngine:
    """submit, abort, stats: the three verbs of an engine, and a stream of events for each
    request.
    """

    def __init__(
        self,
        model: Llama,
        eos_token_ids: tuple[int, ...],
        vocabulary: Vocabulary,
        settings: Settings = DEFAULTS,
        progress: Progress = lambda what, done, total: None,
    ) -> None:
        config = model.config
        self.eos = frozenset(eos_token_ids)
        self.device = Device(model, self.eos, vocabulary, settings)
        self.scheduler = Scheduler(
            slots=settings.slots,
            pages=settings.pages,
            page_size=settings.page_size,
            chunks=settings.chunks,
            context=config.max_position_embeddings,
        )
        self._request_ids = itertools.count()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}
        self._open: dict[int, Callable[[Event], None]] = {}
        self._closing = False
        self._compiler = ThreadPoolExecutor(1, "jax-grammars")
        self.device.warm_up(progress)
        self._thread = threading.Thread(target=self._work, name="jax-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        """Queue a request; its events go to `on_event`, called on the engine's thread. Returns its
        request_id.
        """
        request_id = next(self._request_ids)
        self._open[request_id] = on_event
        if request.language is None:
            self._inbox.put(partial(self._receive, request_id, request, on_event, None))
        else:
            self._compiler.submit(self._compile, request_id, request, on_event)
        if self._closing:
            self._end(request_id, RuntimeError("the engine is down"))
        return request_id

    def abort(self, request_id: int, choice: int | None = None) -> None:
        """Stop one choice, or all, within one decoding step. Ignores finished requests."""
        self._inbox.put(partial(self._abort, request_id, choice))

    def stats(self) -> EngineStats:
        running = len({choice.job.request_id for choice in list(self.scheduler.running)})
        waiting = max(0, len(self._open) - running)
        return EngineStats(self._thread.is_alive() and not self._closing, running, waiting)

    def close(self) -> None:
        """Stop after the step that is under way; requests that have not ended end with an error."""
        self._closing = True
        self._compiler.shutdown(wait=False, cancel_futures=True)
        self._inbox.put(None)
        self._thread.join()

    def _compile(
        self, request_id: int, request: Request, on_event: Callable[[Event], None]
    ) -> None:
        """On a thread of its own: the requests that are running do not wait for it."""
        try:
            text = self.device.grammars.begin(request)
        except Exception as error:
            self._inbox.put(partial(self._end, request_id, error))
        else:
            self._inbox.put(partial(self._receive, request_id, request, on_event, text))

    # On the engine's thread.

    def _work(self) -> None:
        try:
            self._loop()
            error: Exception = RuntimeError("the engine was closed")
        except Exception as failure:
            logger.exception("the engine failed")
            error = failure
        self._closing = True
        for request_id in list(self._open):
            self._end(request_id, error)

    def _loop(self) -> None:
        under_way: UnderWay | None = None
        while True:
            idle = under_way is None and not self.scheduler.busy
            for change in self._changes(wait=idle):
                if change is None:
                    return
                change()
            plan = self.scheduler.plan()
            following = self.device.start(plan) if plan else None
            if under_way is not None:
                self._give_out(under_way)
            under_way = self._draw(following) if following else None

    def _changes(self, wait: bool) -> Iterator[Callable[[], None] | None]:
        if wait:
            yield self._inbox.get()
        while True:
            try:
                yield self._inbox.get_nowait()
            except queue.Empty:
                return

    def _receive(
        self,
        request_id: int,
        request: Request,
        on_event: Callable[[Event], None],
        text: Text | None,
    ) -> None:
        if request_id not in self._open:
            return  # the engine was closed meanwhile
        try:
            if not 0 <= min(request.prompt) <= max(request.prompt) < self.device.vocab_size:
                raise ValueError(f"prompt: an id is not in 0 … {self.device.vocab_size - 1}")
            if request.images and self.device.vision is None:
                raise ValueError("images: this model reads text only")
            job = self._jobs[request_id] = self.scheduler.add(request_id, request, on_event)
            for choice in job.choices:
                choice.text = text and text.copy()
        except ValueError as error:
            self._end(request_id, error)

    def _abort(self, request_id: int, choice: int | None) -> None:
        job = self._jobs.get(request_id)
        for one in job.choices if job else ():
            if choice in (None, one.index) and not one.ended:
                self.scheduler.end(one)
        if job.ended if job else choice is None:  # without a job its grammar is being compiled
            self._end(request_id, None)

    def _end(self, request_id: int, error: Exception | None) -> None:
        self._jobs.pop(request_id, None)
        on_event = self._open.pop(request_id, None)
        if on_event is not None:
            self._deliver(on_event, RequestFinished(error=error))

    def _deliver(self, on_event: Callable[[Event], None], event: Event) -> None:
        try:
            on_event(event)
        except Exception:
            logger.exception("a client's stream could not be written to")

    def _draw(self, started: UnderWay) -> UnderWay:
        """Only now is it known what the grammars have to go on from."""
        started, failed = self.device.draw(started)
        for row, error in failed:
            self._fail(row.choice.job, error)
        return started

    def _give_out(self, done: UnderWay) -> None:
        """Wait for the device, and give out what a step has brought."""
        if done.reports is not None and done.plan.chunk is not None:
            self._collect(done.plan.chunk, jax.device_get(done.reports))
        if done.plan.announced is not None:
            self._announce(done.plan.announced)
        if done.drawn is not None:
            drawn = jax.device_get(done.drawn)
            for i, row in enumerate(done.plan.rows):
                self._take(row, drawn, i)

    def _collect(self, chunk: Chunk, reports: step.Reports) -> None:
        request, collected = chunk.reading.job.request, chunk.reading.reports
        for i in range(chunk.skip, chunk.count if collected is not None else 0):
            place = chunk.start + i + 1
            shown = request.images_within(place, place + 1)
            top = request.params.logprobs or 0
            collected.append(None if shown else report(request.prompt[place], reports, i, top))

    def _announce(self, reading: Reading) -> None:
        if reading.job.request_id not in self._open:
            return  # aborted while its prompt was being read
        reports = None if reading.reports is None else tuple(reading.reports)
        event = PromptProcessed(cached_tokens=reading.job.cached or 0, prompt_logprobs=reports)
        self._deliver(reading.job.on_event, event)

    def _take(self, row: Row, drawn: step.Drawn, i: int) -> None:
        """A row's token, unless nobody wants it, or it was drawn before its choice gave way."""
        choice, job = row.choice, row.choice.job
        if not row.wanted:
            return
        if not drawn.finite[i]:
            self._fail(job, ValueError("the model's logits are not finite"))
            return
        token, top = int(drawn.token[i]), job.request.params.logprobs
        choice.tokens.append(token)
        reason, stop = finish(choice, self.eos)
        if reason is None and choice.text is not None:
            choice.text.push(token)
        event = TokenGenerated(
            choice=choice.index,
            token=token,
            logprobs=None if top is None else report(token, drawn, i, top),
            finish_reason=reason,
            stop_reason=stop,
        )
        self._deliver(job.on_event, event)
        if reason is not None:
            self.scheduler.end(choice)
            if job.ended:
                self._end(job.request_id, None)

    def _fail(self, job: Job, error: Exception) -> None:
        for choice in job.choices:
            if not choice.ended:
                self.scheduler.end(choice)
        self._end(job.request_id, error)


def report(token: int, found: step.Drawn | step.Reports, i: int, top: int) -> TokenLogprobs:
    """The report of row i, with `top` entries, or one more if its token is not among them."""
    ids, values = found.top_ids[i, :top].tolist(), found.top[i, :top].tolist()
    value = float(found.logprob[i])
    more = () if token in ids else ((token, value),)
    return TokenLogprobs(token, value, (*zip(ids, values, strict=True), *more))
