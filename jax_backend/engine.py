"""Continuous batching: one thread that plans a step, hands it to the device, and, while that runs,
gives out what the step before it drew.

    submit, abort  →  inbox  →  plan  →  device  →  events, to each request's `deliver`

The host is one step behind the device. A choice that turns out to have ended has a row too many in
the step that is under way; what that row draws is not looked at.
"""

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx

from jax_backend import step
from jax_backend.llama import Llama
from jax_backend.sampler import History, Params
from jax_backend.scheduler import Choice, Chunk, Job, Plan, Reading, Row, Scheduler, finish
from reference.params import CompletionParams
from reference.request import End, Event, Prompt, Report, Request, Token

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """slots: choices that run at once. widths: the sizes of a batch, each compiled once; one alone
    makes every answer independent, bit for bit, of what else is running. pages: of the cache, each
    of page_size tokens. chunks: the sizes in which prompts are read, ascending, each compiled once.
    top: the most that `logprobs` may ask for.
    """

    slots: int = 8
    widths: tuple[int, ...] = (8,)
    pages: int = 128
    page_size: int = 64
    chunks: tuple[int, ...] = (32, 128)
    top: int = 20

    def __post_init__(self) -> None:
        if sorted(set(self.widths)) != list(self.widths) or max(self.widths) != self.slots:
            raise ValueError(f"widths: {self.widths} do not ascend to {self.slots}, the slots")


DEFAULTS = Settings()


@dataclass(frozen=True)
class Stats:
    """healthy: whether requests will be answered. running, waiting: how many there are."""

    healthy: bool
    running: int
    waiting: int


@dataclass(frozen=True)
class UnderWay:
    """A plan that the device works on, and what will come back."""

    plan: Plan
    drawn: step.Drawn | None
    reports: step.Reports | None


class JaxEngine:
    """submit, abort, stats: the three verbs of an engine, and a stream of events for each request.

    never: ids that are no text, and are sampled only if the request stops at them.
    """

    def __init__(
        self,
        model: Llama,
        eos_token_ids: tuple[int, ...],
        never: frozenset[int],
        settings: Settings = DEFAULTS,
        progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    ) -> None:
        config = model.config
        self.settings, self.vocab_size = settings, config.vocab_size
        self.eos, self.never = frozenset(eos_token_ids), never
        self.top = min(settings.top, config.vocab_size)
        self.table = -(-config.max_position_embeddings // settings.page_size)
        self.graph, self.weights = nnx.split(model)
        dtype = model.embed_tokens[...].dtype
        self.layers = step.empty_pages(config, settings.pages, settings.page_size, dtype)
        self.slots = step.empty_slots(settings.slots, self.vocab_size)
        self.scheduler = Scheduler(
            slots=settings.slots,
            pages=settings.pages,
            page_size=settings.page_size,
            chunks=settings.chunks,
            context=config.max_position_embeddings,
        )
        self._tickets = itertools.count()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}
        self._open: dict[int, Callable[[Event], None]] = {}
        self._closing = False
        self._warm_up(progress)
        self._thread = threading.Thread(target=self._work, name="jax-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, deliver: Callable[[Event], None]) -> int:
        """Queue a request; its events go to `deliver`, called on the engine's thread. Returns its
        ticket.
        """
        ticket = next(self._tickets)
        self._open[ticket] = deliver
        self._inbox.put(partial(self._receive, ticket, request, deliver))
        if self._closing:
            self._end(ticket, RuntimeError("the engine is down"))
        return ticket

    def abort(self, ticket: int, choice: int | None = None) -> None:
        """Stop one choice, or all, within one decoding step. A ticket that has ended is let be."""
        self._inbox.put(partial(self._abort, ticket, choice))

    def stats(self) -> Stats:
        running = len({choice.job.ticket for choice in list(self.scheduler.running)})
        waiting = max(0, len(self._open) - running)
        return Stats(self._thread.is_alive() and not self._closing, running, waiting)

    def close(self) -> None:
        """Stop after the step that is under way; requests that have not ended end with an error."""
        self._closing = True
        self._inbox.put(None)
        self._thread.join()

    # On the engine's thread.

    def _work(self) -> None:
        try:
            self._loop()
            error: Exception = RuntimeError("the engine was closed")
        except Exception as failure:
            logger.exception("the engine failed")
            error = failure
        self._closing = True
        for ticket in list(self._open):
            self._end(ticket, error)

    def _loop(self) -> None:
        under_way: UnderWay | None = None
        while True:
            idle = under_way is None and not self.scheduler.busy
            for change in self._changes(wait=idle):
                if change is None:
                    return
                change()
            plan = self.scheduler.plan()
            following = self._start(plan) if plan else None
            if under_way is not None:
                self._give_out(under_way)
            under_way = following

    def _changes(self, wait: bool) -> Iterator[Callable[[], None] | None]:
        if wait:
            yield self._inbox.get()
        while True:
            try:
                yield self._inbox.get_nowait()
            except queue.Empty:
                return

    def _receive(self, ticket: int, request: Request, deliver: Callable[[Event], None]) -> None:
        try:
            self._jobs[ticket] = self.scheduler.add(ticket, request, deliver)
        except ValueError as error:
            self._end(ticket, error)

    def _abort(self, ticket: int, choice: int | None) -> None:
        job = self._jobs.get(ticket)
        for one in job.choices if job else ():
            if choice in (None, one.index) and not one.ended:
                self.scheduler.end(one)
        if job and job.ended:
            self._end(ticket, None)

    def _end(self, ticket: int, error: Exception | None) -> None:
        self._jobs.pop(ticket, None)
        deliver = self._open.pop(ticket, None)
        if deliver is not None:
            self._deliver(deliver, End(error=error))

    def _deliver(self, deliver: Callable[[Event], None], event: Event) -> None:
        try:
            deliver(event)
        except Exception:
            logger.exception("a client's stream could not be written to")

    def _start(self, plan: Plan) -> UnderWay:
        """Hand a plan to the device. Nothing here waits for it."""
        reports = self._read(plan.chunk) if plan.chunk else None
        for source, target in plan.copies:
            self.layers = step.copy_page(self.layers, np.int32(source), np.int32(target))
        for choice in plan.admitted:
            self.slots = step.admit(self.slots, np.int32(choice.slot), self._content(choice))
        return UnderWay(plan, self._decode(plan.rows) if plan.rows else None, reports)

    def _read(self, chunk: Chunk) -> step.Reports | None:
        prompt, stop = chunk.reading.job.prompt, chunk.start + chunk.count
        size = chunk.size
        top = None if chunk.reading.reports is None else self.top
        content = step.Chunk(
            token=filled(prompt[chunk.start : stop], size),
            following=filled(prompt[chunk.start + 1 : stop + 1], size),
            start=np.int32(chunk.start),
            count=np.int32(chunk.count),
            table=filled(chunk.pages, self.table),
        )
        self.layers, reports = step.read(self.graph, self.weights, self.layers, content, top)
        return reports

    def _content(self, choice: Choice) -> step.Slots:
        """What the device keeps of a choice, as it is before its first token."""
        request = choice.job.request
        ends = self.eos | set(request.params.stop_token_ids)
        allowed = np.ones(self.vocab_size, np.bool_)
        allowed[[i for i in self.never - ends if i < self.vocab_size]] = False
        seen = np.zeros(self.vocab_size, np.bool_)
        seen[list(request.prompt)] = True
        return step.Slots(
            params=Params.of(request.params, request.seed, choice.index),
            history=History(allowed, seen, np.zeros(self.vocab_size, np.int32)),
            token=np.int32(0),
            prompt=np.int32(len(request.prompt)),
            reports=np.bool_(request.params.logprobs is not None),
        )

    def _decode(self, rows: tuple[Row, ...]) -> step.Drawn:
        width = next(w for w in self.settings.widths if w >= len(rows))
        table = np.zeros((width, self.table), np.int32)
        for i, row in enumerate(rows):
            table[i, : len(row.pages)] = row.pages
        batch = step.Rows(
            slot=filled([r.slot for r in rows], width, self.settings.slots),
            position=filled([r.position for r in rows], width),
            token=filled([-1 if r.token is None else r.token for r in rows], width),
            table=table,
        )
        self.layers, self.slots, drawn = step.decode(
            self.graph, self.weights, self.layers, self.slots, batch, self.top
        )
        return drawn

    def _give_out(self, done: UnderWay) -> None:
        """Wait for the device, and give out what a step has brought."""
        if done.reports is not None and done.plan.chunk is not None:
            self._collect(done.plan.chunk, jax.device_get(done.reports))
        if done.plan.announced is not None:
            self._announce(done.plan.announced)
        if done.drawn is not None:
            drawn = jax.device_get(done.drawn)
            for i, row in enumerate(done.plan.rows):
                self._take(row, jax.tree.map(lambda all, i=i: all[i], drawn))

    def _collect(self, chunk: Chunk, reports: step.Reports) -> None:
        request, collected = chunk.reading.job.request, chunk.reading.reports
        if collected is None:
            return
        for i in range(chunk.count):
            token = request.prompt[chunk.start + i + 1]
            one = jax.tree.map(lambda all, i=i: all[i], reports)
            collected.append(report(token, one, request.params.logprobs or 0))

    def _announce(self, reading: Reading) -> None:
        reports = None if reading.reports is None else tuple(reading.reports)
        event = Prompt(cached_tokens=reading.cached, reports=reports)
        self._deliver(reading.job.deliver, event)

    def _take(self, row: Row, drawn: step.Drawn) -> None:
        """A row's token, unless nobody wants it, or it was drawn before its choice gave way."""
        choice, job = row.choice, row.choice.job
        if choice.ended or row.drawn < len(choice.tokens):
            return
        if not drawn.finite:
            for one in job.choices:
                if not one.ended:
                    self.scheduler.end(one)
            self._end(job.ticket, ValueError("the model's logits are not finite"))
            return
        choice.tokens.append(int(drawn.token))
        reason, stop = finish(choice, self.eos)
        top = job.request.params.logprobs
        event = Token(
            choice=choice.index,
            token=int(drawn.token),
            report=None if top is None else report(int(drawn.token), drawn, top),
            finish_reason=reason,
            stop_reason=stop,
        )
        self._deliver(job.deliver, event)
        if reason is not None:
            self.scheduler.end(choice)
            if job.ended:
                self._end(job.ticket, None)

    def _warm_up(self, progress: Callable[[str, int, int], None]) -> None:
        """Compile everything that a request can need, before the first one comes."""
        request = Request.of([0], CompletionParams())
        job = Scheduler(
            slots=1, pages=self.table, page_size=self.settings.page_size, chunks=(1,), context=2
        ).add(0, request, lambda event: None)
        choice = job.choices[0]
        tasks: list[tuple[str, Callable[[], Any]]] = [
            ("slots", lambda: self._start(Plan(None, None, ((0, 0),), (choice,), ()))),
        ]
        for size in self.settings.chunks:
            for reports, more in (None, ""), ([], " with log-probabilities"):
                chunk = Chunk(Reading(job, [], reports=reports), 0, 0, size, ())
                tasks.append((f"chunks of {size}{more}", partial(self._read, chunk)))
        choice.slot = self.settings.slots  # beyond the last: its changes are dropped
        for width in self.settings.widths:
            rows = (Row(choice, choice.slot, 0, 0, ()),) * width
            tasks.append((f"batches of {width}", partial(self._decode, rows)))
        for i, (what, task) in enumerate(tasks):
            progress(what, i, len(tasks))
            jax.block_until_ready(task())
        progress("", len(tasks), len(tasks))


def filled(values: Any, size: int, rest: int = 0) -> np.ndarray:
    """An int32 array of `size`: the values, and then `rest`."""
    array = np.full(size, rest, np.int32)
    array[: len(values)] = values
    return array


def report(token: int, one: step.Drawn | step.Reports, top: int) -> Report:
    """A token's report, with `top` entries, or one more if it is not among them."""
    pairs = [(int(i), float(v)) for i, v in zip(one.top_ids[:top], one.top[:top], strict=True)]
    if token not in (i for i, _ in pairs):
        pairs.append((token, float(one.logprob)))
    return Report(token, float(one.logprob), tuple(pairs))
