"""What stands on the device, and how a plan is run there: the model, the pages, the slots, and the
computations of `jax_backend.step`, every one of which is compiled before the first request comes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import Array

from jax_backend import step
from jax_backend.grammar import Grammars
from jax_backend.llama import Llama
from jax_backend.plan import Choice, Chunk, Job, Plan, Reading, Row
from jax_backend.sampler import History, Params
from reference.language.errors import UnsupportedFormat
from reference.params import CompletionParams
from reference.request import Request
from reference.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """widths: the sizes of a batch, ascending, each compiled once; the largest is how many choices
    run at once. invariant: whether only widths are used that round alike, so that no answer
    depends, by a single bit, on what else is running. pages: of the cache, each of page_size
    tokens. chunks: the sizes in which prompts are read, ascending, each compiled once. top: the
    most that `logprobs` may ask for.
    """

    widths: tuple[int, ...] = (1, 2, 4, 8)
    invariant: bool = True
    pages: int = 128
    page_size: int = 64
    chunks: tuple[int, ...] = (32, 128)
    top: int = 20

    def __post_init__(self) -> None:
        for name in "widths", "chunks":
            sizes = getattr(self, name)
            if not sizes or sorted(set(sizes)) != list(sizes) or sizes[0] < 1:
                raise ValueError(f"{name}: {sizes} are not ascending sizes")

    @property
    def slots(self) -> int:
        return self.widths[-1]


@dataclass(frozen=True)
class UnderWay:
    """A plan that the device works on, and what will come back. fed: what `Device.draw` needs, if
    it is still to be called.
    """

    plan: Plan
    reports: step.Reports | None = None
    fed: tuple[step.Rows, Array] | None = None
    drawn: step.Drawn | None = None


class Device:
    """eos: ids that end a text. vocabulary: the others of its ids that are no text are sampled only
    if the request stops at them.
    """

    def __init__(
        self, model: Llama, eos: frozenset[int], vocabulary: Vocabulary, settings: Settings
    ) -> None:
        config = model.config
        self.settings, self.eos, self.never = settings, eos, vocabulary.never
        self.grammars = Grammars(vocabulary, eos)
        self.vocab_size = config.vocab_size
        self.top = min(settings.top, config.vocab_size)
        self.table = -(-config.max_position_embeddings // settings.page_size)
        graph, state = nnx.split(model)
        self.weights, structure = jax.tree.flatten(state)
        self.program = step.program(graph, structure)
        self.layers = step.empty_pages(model, settings.pages, settings.page_size)
        self.slots = step.empty_slots(settings.slots, self.vocab_size)
        self.widths = settings.widths
        self.no_masks = {width: self._no_mask(width) for width in self.widths}

    def start(self, plan: Plan) -> UnderWay:
        """Hand a plan to the device, all but the draws if a row follows a grammar: these wait for
        `draw`. Nothing here waits for the device.
        """
        reports = self._read(plan.chunk) if plan.chunk else None
        for source, target in plan.copies:
            self.layers = step.copy_page(self.layers, np.int32(source), np.int32(target))
        for choice in plan.admitted:
            self.slots = step.admit(self.slots, np.int32(choice.slot), self._content(choice))
        if not plan.rows:
            return UnderWay(plan, reports)
        rows = self._rows(plan.rows)
        logits = self._feed(rows)
        if plan.follows_grammars:
            return UnderWay(plan, reports, fed=(rows, logits))
        return UnderWay(
            plan, reports, drawn=self._draw(rows, logits, self.no_masks[len(rows.slot)])
        )

    def draw(self, started: UnderWay) -> tuple[UnderWay, list[tuple[Row, UnsupportedFormat]]]:
        """Make the masks, while the device is on its way to the draws, and hand it those. Beside
        it, the rows for which there is no mask, and why.
        """
        if started.fed is None:
            return started, []
        rows, logits = started.fed
        texts = [row.choice.text if row.wanted else None for row in started.plan.rows]
        texts += [None] * (len(rows.slot) - len(texts))
        bits, errors = self.grammars.masks(texts)
        asked = np.array([text is not None for text in texts])
        mask = jax.device_put(step.Mask(asked, bits))
        failed = [(r, e) for r, e in zip(started.plan.rows, errors, strict=False) if e]
        return UnderWay(started.plan, started.reports, drawn=self._draw(rows, logits, mask)), failed

    def _read(self, chunk: Chunk) -> step.Reports | None:
        prompt, stop = chunk.reading.job.prompt, chunk.start + chunk.count
        content = step.Chunk(
            token=filled(prompt[chunk.start : stop], chunk.size),
            following=filled(prompt[chunk.start + 1 : stop + 1], chunk.size),
            start=np.int32(chunk.start),
            skip=np.int32(chunk.skip),
            count=np.int32(chunk.count),
            table=filled(chunk.pages, self.table),
        )
        top = None if chunk.reading.reports is None else self.top
        self.layers, reports = self.program.read(self.weights, self.layers, content, top)
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

    def _rows(self, rows: Sequence[Row]) -> step.Rows:
        width = next(w for w in self.widths if w >= len(rows))
        table = np.zeros((width, self.table), np.int32)
        for i, row in enumerate(rows):
            table[i, : len(row.pages)] = row.pages
        return step.Rows(
            slot=filled([r.slot for r in rows], width, self.settings.slots),
            position=filled([r.position for r in rows], width),
            token=filled([-1 if r.token is None else r.token for r in rows], width),
            table=table,
        )

    def _feed(self, rows: step.Rows) -> Array:
        self.layers, logits = self.program.feed(self.weights, self.layers, self.slots.token, rows)
        return logits

    def _draw(self, rows: step.Rows, logits: Array, mask: step.Mask) -> step.Drawn:
        self.slots, drawn = step.draw(self.slots, rows, logits, mask, self.top)
        return drawn

    def _no_mask(self, width: int) -> step.Mask:
        bits = np.zeros((width, -(-self.vocab_size // 32)), np.int32)
        return jax.device_put(step.Mask(np.zeros(width, np.bool_), bits))

    def warm_up(self, progress: Progress) -> None:
        """Compile everything that a request can need. progress: called with what comes next, how
        much is done, and of how much.
        """
        tasks = self._tasks()
        for i, (what, task) in enumerate(tasks):
            progress(what, i, len(tasks))
            jax.block_until_ready(task())
        if self.settings.invariant:
            self._drop_widths_that_round_differently()
        progress("ready", len(tasks), len(tasks))

    def _tasks(self) -> list[tuple[str, Callable[[], Any]]]:
        request = Request.of([0], CompletionParams(temperature=0, logprobs=0))
        job = Job(0, request, lambda event: None, 1, [])
        choice = Choice(job, 0, slot=0)
        tasks: list[tuple[str, Callable[[], Any]]] = [
            ("slots", partial(self.start, Plan(None, None, ((0, 0),), (choice,), ())))
        ]
        for size in self.settings.chunks:
            for reports, more in (None, ""), ([], " with log-probabilities"):
                chunk = Chunk(Reading(job, [], reports=reports), 0, 0, 0, size, ())
                tasks.append((f"prompts by {size}{more}", partial(self._read, chunk)))
        for width in self.widths:
            plan = Plan(None, None, (), (), nobody(choice, width, self))
            tasks.append((f"batches of {width}", partial(self.start, plan)))
        return tasks

    def _drop_widths_that_round_differently(self) -> None:
        """A product of few rows may be summed in another order than one of many: that is up to the
        compiler, the platform and the shape. So it is tried.
        """
        widest = self.widths[-1]
        expected = self._bits(widest)
        dropped = [w for w in self.widths[:-1] if self._bits(w) != expected]
        self.widths = tuple(w for w in self.widths if w not in dropped)
        if dropped:
            logger.info("batches of %s round differently from %d: not used", dropped, widest)

    def _bits(self, width: int) -> list[bytes]:
        """A text of three tokens in a batch of this width, as its first row, in the middle and as
        its last: the bits of its keys and values in every layer, and of its log-probabilities.
        """
        numbers: list[Any] = []
        for position in range(3):
            row = position * (width - 1) // 2
            rows = step.Rows(
                slot=np.full(width, self.settings.slots, np.int32),
                position=np.zeros(width, np.int32),
                token=np.full(width, -1, np.int32),
                table=np.zeros((width, self.table), np.int32),
            )
            rows.slot[row], rows.position[row], rows.table[row, 0] = 0, position, 1
            rows.token[row] = (1 + position) * (self.vocab_size - 1) // 4
            drawn = self._draw(rows, self._feed(rows), self.no_masks[width])
            numbers += [drawn.logprob[row], drawn.top[row]]
        numbers += [pages[1] for pages in jax.tree.leaves(self.layers)]
        return [np.asarray(n).tobytes() for n in numbers]


def nobody(choice: Choice, width: int, device: Device) -> tuple[Row, ...]:
    """Rows whose changes are dropped: their slot lies beyond the last."""
    return (Row(choice, device.settings.slots, 0, 0, ()),) * width


def filled(values: Sequence[int], size: int, rest: int = 0) -> np.ndarray:
    """An int32 array of `size`: the values, and then `rest`."""
    array = np.full(size, rest, np.int32)
    array[: len(values)] = values
    return array
