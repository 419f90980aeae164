"""What stands on the device, and how a plan is run there: the model, the pages, the slots, and the
computations of `jax_backend.serving.step`, every one of which is compiled before the first request
comes.
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

from jax_backend.grammar.token_mask import Grammars
from jax_backend.model import sharding
from jax_backend.model.llama import Given, Llama
from jax_backend.numerics.branches import Told, all_told, tell
from jax_backend.platform import on_gpu
from jax_backend.sampler import Params, SamplingHistory
from jax_backend.serving import step
from jax_backend.serving.plan import Choice, Chunk, Job, Plan, Reading, Row
from reference.grammar.language.errors import UnsupportedFormat
from reference.model.vision_config import VisionConfig
from reference.params import CompletionParams
from reference.request import ImageSpan, Request
from reference.tokenizer.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """widths: the sizes of a batch, ascending, each compiled beforehand; the largest is how many
    choices run at once. invariant: whether only widths are used that round alike, so that no answer
    depends, by a single bit, on what else is running. pages: of the cache, each of page_size
    tokens. chunks: the sizes in which prompts are read, ascending, each compiled once. images: the
    sizes of a batch of images, likewise. top: the most that `logprobs` may ask for.
    """

    widths: tuple[int, ...] = (1, 2, 4, 8)
    invariant: bool = True
    pages: int = 128
    page_size: int = 64
    chunks: tuple[int, ...] = (32, 128)
    images: tuple[int, ...] = (1, 2, 4)
    top: int = 20

    def __post_init__(self) -> None:
        for name in "widths", "chunks", "images":
            sizes = getattr(self, name)
            if not sizes or sorted(set(sizes)) != list(sizes) or sizes[0] < 1:
                raise ValueError(f"{name}: {sizes} are not ascending sizes")
        if self.images[0] != 1:
            raise ValueError(f"images: {self.images} do not begin with 1")

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
        self.context = config.max_position_embeddings
        self.table = -(-config.max_position_embeddings // settings.page_size)
        graph, state = nnx.split(model)
        self.weights, structure = jax.tree.flatten(state)
        self.program = step.program(graph, structure)
        self.layers = step.empty_pages(model, settings.pages, settings.page_size)
        self.everywhere = None if model.mesh is None else sharding.everywhere(model.mesh)
        self.slots = self._put(step.empty_slots(settings.slots, self.vocab_size))
        self.widths = settings.widths
        self.no_masks = {width: self._no_mask(width) for width in self.widths}
        self.vision = config.vision
        self.image_batches = settings.images
        sizes = {*settings.widths, *settings.chunks} if config.vision else set()
        dtype = model.embed_tokens[...].dtype
        self.no_images = {
            n: self._put(step.nothing_given(n, config.hidden_size, dtype)) for n in sizes
        }

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
        logits = self._feed(rows, self._given_rows(plan.rows, len(rows.slot)))
        if plan.follows_grammars:
            return UnderWay(plan, reports, fed=(rows, logits))
        mask = self.no_masks[len(rows.slot)]
        return UnderWay(plan, reports, drawn=self._draw(rows, logits, mask, told_of(plan.rows)))

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
        mask = self._put(step.Mask(asked, bits))
        failed = [(r, e) for r, e in zip(started.plan.rows, errors, strict=False) if e]
        drawn = self._draw(rows, logits, mask, told_of(started.plan.rows))
        return UnderWay(started.plan, started.reports, drawn=drawn), failed

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
        given = self._given_chunk(chunk)
        self.layers, reports = self.program.read(self.weights, self.layers, content, given, top)
        return reports

    def _given_chunk(self, chunk: Chunk) -> Given | None:
        """What of images stands in a chunk. Rows that no later chunk needs are let go of."""
        job, start, stop = chunk.reading.job, chunk.start, chunk.start + chunk.count
        request, given = job.request, self.no_images.get(chunk.size)
        for placed in request.images_within(start, stop):
            first, last = max(placed.start, start), min(placed.stop, stop)
            rows = self._look(request, placed, job.seen)
            given = step.give(given, rows, *ints(first - placed.start, first - start, last - first))
            if placed.stop <= stop:
                job.seen.pop(placed.start)
        return given

    def _given_rows(self, rows: Sequence[Row], width: int) -> Given | None:
        """What of images stands in a batch: the last row of one that ends a prompt."""
        given = self.no_images.get(width)
        for i, row in enumerate(rows):
            job = row.choice.job
            for placed in job.request.images_within(row.position, row.position + 1):
                image = self._look(job.request, placed, job.seen)
                given = step.give(given, image, *ints(row.position - placed.start, i, 1))
        return given

    def _look(self, request: Request, placed: ImageSpan, seen: dict[int, Array]) -> Array:
        """The rows of an image, which is looked at together with those after it in the prompt."""
        if placed.start not in seen:
            ahead = [p for p in request.images if p.start >= placed.start]
            batch = ahead[: self.image_batches[-1]]
            size = next(size for size in self.image_batches if size >= len(batch))
            pixels = np.zeros((size, *placed.image.pixels.shape), np.float32)
            for i, p in enumerate(batch):
                pixels[i] = p.image.pixels
            rows = self.program.look(self.weights, pixels)
            seen |= {p.start: r for p, r in zip(batch, rows, strict=False)}
        return seen[placed.start]

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
            history=SamplingHistory(allowed, seen, np.zeros(self.vocab_size, np.int32)),
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

    def _feed(self, rows: step.Rows, given: Given | None) -> Array:
        self.layers, logits = self.program.feed(
            self.weights, self.layers, self.slots.token, rows, given
        )
        return logits

    def _draw(self, rows: step.Rows, logits: Array, mask: step.Mask, told: Told) -> step.Drawn:
        self.slots, drawn = step.draw(self.slots, rows, logits, mask, self.top, told)
        return drawn

    def _no_mask(self, width: int) -> step.Mask:
        bits = np.zeros((width, -(-self.vocab_size // 32)), np.int32)
        return self._put(step.Mask(np.zeros(width, np.bool_), bits))

    def _put(self, tree: Any) -> Any:
        """On the device; if there are several, on every one."""
        return jax.device_put(tree, self.everywhere)

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
            if self.vision is not None:
                self._drop_image_batches_that_round_differently(self.vision)
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
            tasks.append((f"batches of {width}", partial(self._try_width, choice, width)))
        return tasks + (self._image_tasks(self.vision) if self.vision else [])

    def _try_width(self, choice: Choice, width: int) -> Any:
        """Rows whose changes are dropped: their slot lies beyond the last."""
        rows = self._rows((Row(choice, self.settings.slots, 0, 0, ()),) * width)
        logits = self._feed(rows, self.no_images.get(width))
        mask = self.no_masks[width]
        return [self._draw(rows, logits, mask, told) for told in all_told()]

    def _image_tasks(self, vision: VisionConfig) -> list[tuple[str, Callable[[], Any]]]:
        shape = 3, vision.image_size, vision.image_size

        def task(size: int) -> Any:
            rows = self.program.look(self.weights, np.zeros((size, *shape), np.float32))
            return [step.give(given, rows[0], *ints(0, 0, 0)) for given in self.no_images.values()]

        return [(f"images by {size}", partial(task, size)) for size in self.settings.images]

    def _drop_image_batches_that_round_differently(self, vision: VisionConfig) -> None:
        """What an image looks like may not depend on the others that it is looked at with, nor on
        its place among them.
        """
        image = np.linspace(-2, 2, 3 * vision.image_size**2, dtype=np.float32)
        image = np.sin(37 * image).reshape(1, 3, vision.image_size, vision.image_size)

        def bits(size: int, place: int) -> bytes:
            pixels = np.zeros((size, *image.shape[1:]), np.float32)
            pixels[place] = image
            return np.asarray(self.program.look(self.weights, pixels)[place]).tobytes()

        alone = bits(1, 0)
        self.image_batches = tuple(
            size
            for size in self.image_batches
            if size == 1 or all(bits(size, i) == alone for i in {0, size // 2, size - 1})
        )
        if len(self.image_batches) < len(self.settings.images):
            logger.info("images are looked at by %s: others round differently", self.image_batches)

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
        """Three texts of one token in a batch of this width, as its first row, in the middle and as
        its last, and a token far on in a text that is made up: the bits of its keys and values in
        every layer, and of its log-probabilities.
        """
        self.layers = step.fill_page(self.layers, np.int32(1))
        far = min(self.context, self.context if on_gpu() else 2 * self.settings.page_size) - 1
        numbers: list[Any] = []
        for i, position in enumerate((0, 0, 0, far)):
            row = min(i, 2) * (width - 1) // 2
            rows = step.Rows(
                slot=np.full(width, self.settings.slots, np.int32),
                position=np.zeros(width, np.int32),
                token=np.full(width, -1, np.int32),
                table=np.zeros((width, self.table), np.int32),
            )
            rows.slot[row], rows.position[row], rows.table[row] = 0, position, 1
            rows.token[row] = (1 + i) * (self.vocab_size - 1) // 5
            logits = self._feed(rows, self.no_images.get(width))
            drawn = self._draw(rows, logits, self.no_masks[width], all_told()[-1])
            numbers += [drawn.logprob[row], drawn.top[row]]
            numbers += [pages[1] for pages in jax.tree.leaves(self.layers)]
        return [np.asarray(n).tobytes() for n in numbers]


def told_of(rows: Sequence[Row]) -> Told:
    return tell([row.choice.job.request.params for row in rows])


def ints(*values: int) -> tuple[np.int32, ...]:
    """Numbers for the device, which else would be taken for 64 bits or for constants."""
    return tuple(map(np.int32, values))


def filled(values: Sequence[int], size: int, rest: int = 0) -> np.ndarray:
    """An int32 array of `size`: the values, and then `rest`."""
    array = np.full(size, rest, np.int32)
    array[: len(values)] = values
    return array
