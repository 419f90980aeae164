"""What the device does next. Plain Python: it decides, and touches no tensor.

A request becomes a `Job` with a `Choice` for each of its `n` sequences. Its prompt, all but the
last token, is read once (`Reading`), chunk by chunk, into pages. Then each choice gets a slot and a
place in the batch, shares the full pages of the reading, and feeds the prompt's last token itself:
from there on it grows by one token per step. Each `plan` has one chunk of a prompt at most, and a
row for every choice that runs.

When pages run out, the youngest gives up its pages and its place, and later starts again: its
prompt is read as it was, and the tokens it had drawn are fed to it one by one, through the same
computation as before, so that nothing in its answer changes. The oldest request never gives way,
so every request ends.
"""

from collections import deque
from collections.abc import Callable

from jax_backend.serving.page_pool import PagePool, page_names
from jax_backend.serving.plan import Choice, Chunk, Job, Plan, Reading, Row
from reference.params import DEFAULT_MAX_TOKENS
from reference.request import Event, Request


class Scheduler:
    """slots: how many choices run at once. chunks: the sizes in which prompts are read, ascending.
    context: of the model. All in tokens but slots and pages.

    A prompt is cut where a multiple of the largest chunk is, whatever is known of it already, and
    each piece is read in the smallest chunk that holds the whole of it. So the size of a token's
    chunk and its place there, on which its rounding may depend, are a matter of the prompt alone:
    what is known keeps its place, and is not written again. A smaller chunk is
    smaller than a page: it fills none that another prompt could share.
    """

    def __init__(
        self, *, slots: int, pages: int, page_size: int, chunks: tuple[int, ...], context: int
    ) -> None:
        if pages * page_size < context:
            raise ValueError(f"pages: {pages} of {page_size} do not hold a context of {context}")
        if any(size >= page_size for size in chunks[:-1]):
            raise ValueError(f"chunks: only the largest of {chunks} may fill a page of {page_size}")
        self.pool = PagePool(pages)
        self.page_size, self.chunks, self.context = page_size, chunks, context
        self.free_slots = list(range(slots - 1, -1, -1))
        self.waiting: deque[Reading] = deque()
        self.reading: Reading | None = None
        self.running: list[Choice] = []
        self.preempted = 0  # how often a choice gave way

    def add(self, request_id: int, request: Request, on_event: Callable[[Event], None]) -> Job:
        """Queue a request. Raises ValueError if its prompt leaves no room for a token."""
        room = self.context - len(request.prompt)
        if room < 1:
            raise ValueError(
                f"prompt: {len(request.prompt)} tokens fill a context of {self.context}"
            )
        params = request.params
        wanted = DEFAULT_MAX_TOKENS if params.max_tokens is None else params.max_tokens
        read = request.prompt[:-1]
        names = page_names(
            request.principal, params.prompt_cache_key, read, self.page_size, request.images
        )
        job = Job(request_id, request, on_event, min(wanted, room), names)
        job.choices = [Choice(job, i) for i in range(params.n)]
        self._wait(Reading(job, list(job.choices)))
        return job

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.reading or self.running)

    def plan(self) -> Plan:
        """Decide on the next step, and take what it needs."""
        rows_wanted = [c for c in self.running if not c.fed_up]
        for choice in rows_wanted:
            self._make_room(choice)
        chunk = self._next_chunk()
        announced = self._announce()
        copies, admitted = self._admit()
        rows = tuple(self._row(c) for c in self.running if c.slot is not None and not c.fed_up)
        return Plan(chunk, announced, copies, admitted, rows)

    def end(self, choice: Choice) -> None:
        """The choice wants nothing more. What it holds is free for plans to come."""
        choice.ended = True
        if choice.slot is not None:
            self._leave(choice)
        for reading in [*self.waiting, self.reading]:
            if reading and choice in reading.choices:
                reading.choices.remove(choice)
                if not reading.choices:
                    self._drop(reading)

    def _make_room(self, choice: Choice) -> None:
        """See to it that a running choice has a page for its position, at the cost of younger ones.
        If it is the youngest itself, it gives way.
        """
        while choice.slot is not None and choice.position // self.page_size >= len(choice.pages):
            page = self.pool.take()
            if page is not None:
                choice.pages.append(page)
            elif (
                self.reading
                and self.reading.pages
                and self.reading.job.request_id >= choice.job.request_id
            ):
                self._put_back(self.reading)
            else:
                self._preempt(max(self.running, key=lambda c: (c.job.request_id, c.index)))

    def _preempt(self, choice: Choice) -> None:
        self.preempted += 1
        self._leave(choice)
        self._wait(Reading(choice.job, [choice]))

    def _put_back(self, reading: Reading) -> None:
        self._drop(reading)
        self._wait(Reading(reading.job, reading.choices))

    def _wait(self, reading: Reading) -> None:
        """Queue by age."""
        older = sum(r.job.request_id < reading.job.request_id for r in self.waiting)
        self.waiting.insert(older, reading)

    def _leave(self, choice: Choice) -> None:
        self.running.remove(choice)
        self.pool.release(choice.pages)
        assert choice.slot is not None
        self.free_slots.append(choice.slot)
        choice.pages, choice.slot = [], None

    def _drop(self, reading: Reading) -> None:
        if reading is self.reading:
            self.pool.release(reading.pages)
            self.reading = None
        else:
            self.waiting.remove(reading)

    def _next_chunk(self) -> Chunk | None:
        """The next tokens of the prompt that is being read, as far as there are pages for them."""
        if self.reading is None and self.waiting and self.free_slots:
            self.reading = self._begin(self.waiting.popleft())
        reading = self.reading
        if reading is None or reading.position >= reading.end:
            return None
        cut = reading.position - reading.position % self.chunks[-1]
        stop = min(cut + self.chunks[-1], reading.end)
        size = next(size for size in self.chunks if size >= stop - cut)
        while len(reading.pages) * self.page_size < stop:
            page = self.pool.take()
            if page is None:
                break
            reading.pages.append(page)
        stop = min(stop, len(reading.pages) * self.page_size)
        if stop <= reading.position:
            return None
        skip = reading.position - cut
        chunk = Chunk(reading, cut, skip, stop - cut, size, tuple(reading.pages))
        reading.position = stop
        full = stop // self.page_size
        for page, name in zip(reading.pages[:full], reading.job.names[:full], strict=True):
            self.pool.keep(page, name)
        return chunk

    def _begin(self, reading: Reading) -> Reading:
        """Start from the longest prefix that is known. A prompt whose log-probabilities are asked
        for is read whole.
        """
        if reading.job.request.reports_prompt and not reading.job.announced:
            reading.reports = [None]
        else:
            reading.pages = self.pool.longest(reading.job.names)
            self.pool.share(reading.pages)
        reading.position = len(reading.pages) * self.page_size
        if reading.job.cached is None:  # else the pages may be its own
            reading.job.cached = reading.position
        return reading

    def _announce(self) -> Reading | None:
        reading = self.reading
        if reading is None or reading.position < reading.end or reading.job.announced:
            return None
        reading.job.announced = True
        return reading

    def _admit(self) -> tuple[tuple[tuple[int, int], ...], tuple[Choice, ...]]:
        """Give slots to the choices of a prompt that has been read: the copies that takes, and who
        got one.
        """
        copies: list[tuple[int, int]] = []
        admitted: list[Choice] = []
        while self.reading and self.reading.position >= self.reading.end and self.free_slots:
            choice = self._fork(self.reading, copies)
            if choice is None:
                break
            choice.position, choice.slot = len(choice.job.prompt) - 1, self.free_slots.pop()
            self.running.append(choice)
            admitted.append(choice)
        return tuple(copies), tuple(admitted)

    def _fork(self, reading: Reading, copies: list[tuple[int, int]]) -> Choice | None:
        """The next choice, with pages up to the one that it writes to first: the full ones are
        shared. The last choice takes the reading's pages over; so does one that runs alone and
        finds no page for a copy, and the others have the prompt read again.
        """
        full, rest = divmod(reading.end, self.page_size)
        last = len(reading.choices) == 1
        page = None if last and rest else self.pool.take()
        if page is None and not (rest and (last or not self.running)):
            return None
        choice = reading.choices.pop(0)
        choice.pages = list(reading.pages)
        self.pool.share(choice.pages)
        if page is not None:
            self.pool.release(choice.pages[full:])
            choice.pages[full:] = [page]
            copies += [(reading.pages[full], page)] if rest else []
        if page is None or not reading.choices:
            self._drop(reading)
            if reading.choices:
                self._wait(Reading(reading.job, reading.choices))
        return choice

    def _row(self, choice: Choice) -> Row:
        assert choice.slot is not None
        row = Row(choice, choice.slot, choice.position, choice.next_input(), tuple(choice.pages))
        choice.position += 1
        return row
