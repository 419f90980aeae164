"""The executor: runs step plans on the device. It owns the weights, the KV pages, the batch slots,
the image embeddings and the grammar states.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import Array

from jax_backend.grammar.token_mask import GrammarCompiler
from jax_backend.model import sharding
from jax_backend.model.llama import ImageEmbeddings, Llama
from jax_backend.model.transfer import to_devices
from jax_backend.numerics.branches import StaticFlags, static_flags
from jax_backend.serving import state
from jax_backend.serving.decode import sample_step
from jax_backend.serving.grammar_states import GrammarStates
from jax_backend.serving.images import ImageEmbedder
from jax_backend.serving.prefill import no_images
from jax_backend.serving.program import LaunchImages, compiled_program
from jax_backend.serving.scheduling.plan import DecodeRow, StepPlan
from jax_backend.serving.settings import PrefillLayout, Settings, prefill_layout
from jax_backend.serving.uploads import pack_batch, pack_segments, pack_slot
from reference.grammar.language.errors import UnsupportedFormat
from reference.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True)
class InFlightStep:
    """A step that runs on the device, and the arrays that it will fill. decoded: the batch and its
    logits, while `Executor.sample` is still to be called. mask_errors: why rows, by index, have no
    token mask.
    """

    plan: StepPlan
    prompt_logprobs: state.PromptLogprobs | None = None
    decoded: tuple[state.BatchInputs, Array] | None = None
    sampled: state.SampleOutput | None = None
    mask_errors: Mapping[int, UnsupportedFormat] = field(default_factory=dict)


class Executor:
    """The device side of an engine.

    eos: ids that end a sequence. vocabulary: its disallowed tokens are sampled only if they are in
    `eos` or among the stop tokens of the request.
    """

    def __init__(
        self, model: Llama, eos: frozenset[int], vocabulary: Vocabulary, settings: Settings
    ) -> None:
        config = model.config
        self.settings, self.eos, self.vision = settings, eos, config.vision
        self.disallowed_token_ids = vocabulary.disallowed_token_ids
        self.vocab_size, self.context = config.vocab_size, config.max_position_embeddings
        self.num_logprobs = min(settings.max_logprobs, config.vocab_size)
        self.pages_per_sequence = -(-self.context // settings.page_size)
        self.pad_slot = settings.slots
        self.batch_sizes = settings.batch_sizes
        self.layout = prefill_layout(settings)

        graph, weights = nnx.split(model)
        self.weights, structure = jax.tree.flatten(weights)
        self.program = compiled_program(graph, structure)
        self.replicated = None if model.mesh is None else sharding.replicated(model.mesh)
        self.layers = state.empty_pages(model, settings.num_pages, settings.page_size)
        self.slots = self.to_device(state.empty_slots(settings.slots, self.vocab_size))
        self.full_masks = self.to_device(full_masks(self.batch_sizes, self.vocab_size))
        no_image = self.to_device(no_image_embeddings(model, settings, self.layout))
        self.images = ImageEmbedder(self.encode_images, settings.image_batch_sizes, no_image)
        self.grammars = GrammarCompiler(vocabulary, eos)
        self.grammar_states = GrammarStates()

    def start(self, plan: StepPlan) -> InFlightStep:
        """Launch a step, except for sampling if a row needs a token mask: that is left to `sample`.
        Does not wait for the device.
        """
        for sequence in plan.admitted:
            values = pack_slot(sequence, self.vocab_size, self.eos, self.disallowed_token_ids)
            self.slots = state.set_slot(self.slots, np.int32(sequence.slot), values)
        batch = self.pack(plan.rows, plan.is_mixed) if plan.rows else None
        logits, prompt_logprobs = None, None
        if plan.segments:
            mixed = batch if plan.is_mixed else None
            logits, prompt_logprobs = self._prefill(plan, mixed)
        for source, target in plan.page_copies:
            self.layers = state.copy_page(self.layers, np.int32(source), np.int32(target))
        if batch is None:
            return InFlightStep(plan, prompt_logprobs)
        if logits is None:
            images = self.images.of_batch(plan.rows, len(batch.slot))
            logits = self.decode_forward(batch, images)
        if plan.needs_masks:
            return InFlightStep(plan, prompt_logprobs, decoded=(batch, logits))
        mask = self.full_masks[len(batch.slot)]
        sampled = self.sample_batch(batch, logits, mask, flags_of(plan.rows))
        return InFlightStep(plan, prompt_logprobs, sampled=sampled)

    def sample(self, step: InFlightStep) -> InFlightStep:
        """Build the token masks, while the device computes the logits, and launch sampling."""
        if step.decoded is None:
            return step
        batch, logits = step.decoded
        rows = step.plan.rows
        grammars = self.grammar_states.before(rows)
        grammars += [None] * (len(batch.slot) - len(grammars))
        bits, errors = self.grammars.token_masks(grammars)
        constrained = np.array([grammar is not None for grammar in grammars])
        mask = self.to_device(state.TokenMask(constrained, bits))
        failed = {i: error for i, error in enumerate(errors) if error}
        sampled = self.sample_batch(batch, logits, mask, flags_of(rows))
        return replace(step, decoded=None, sampled=sampled, mask_errors=failed)

    def release(self, request_id: int) -> None:
        """Drop the grammar states and the image embeddings of a request."""
        self.grammar_states.remove(request_id)
        self.images.release(request_id)

    def _prefill(
        self, plan: StepPlan, batch: state.BatchInputs | None
    ) -> tuple[Array | None, state.PromptLogprobs | None]:
        """Launch the segments of a plan, and a decode batch if it shares the launch. Return the
        logits of the batch, and the log-probabilities of the prompts, if requested.
        """
        size, count = self.layout.segment_size, plan.num_segments
        inputs = pack_segments(plan.segments, count, size, self.pages_per_sequence)
        images = LaunchImages(
            None if batch is None else self.images.of_batch(plan.rows, len(batch.slot)),
            self.images.of_segments(plan.segments, size, count),
        )
        logits, hidden = self.forward(batch, inputs, images)
        if all(segment.prefill.prompt_logprobs is None for segment in plan.segments):
            return logits, None
        return logits, self.prompt_logprobs(hidden, inputs.next_token)

    def pack(self, rows: Collection[DecodeRow], is_mixed: bool = False) -> state.BatchInputs:
        """Pack rows into the smallest batch that holds them, the largest for a mixed launch."""
        sizes = self.settings.batch_sizes[-1:] if is_mixed else self.batch_sizes
        size = next(size for size in sizes if size >= len(rows))
        return pack_batch(rows, size, self.pages_per_sequence, self.pad_slot)

    def forward(
        self,
        batch: state.BatchInputs | None,
        segments: state.SegmentInputs | None,
        images: LaunchImages,
    ) -> tuple[Array | None, Array | None]:
        """Launch the forward pass of a batch, of segments, or of both. Return the logits of the
        batch and the hidden states of the segments.
        """
        self.layers, logits, hidden = self.program.forward(
            self.weights, self.layers, self.slots.last_token, batch, segments, images
        )
        return logits, hidden

    def decode_forward(self, batch: state.BatchInputs, images: ImageEmbeddings | None) -> Array:
        """Launch the forward pass of a batch. Return its logits."""
        return self.forward(batch, None, LaunchImages(batch=images))[0]

    def prompt_logprobs(self, hidden: Array, next_token: np.ndarray) -> state.PromptLogprobs:
        """Launch the log-probabilities of the token after each token of a prefill launch."""
        return self.program.prompt_logprobs(self.weights, hidden, next_token, self.num_logprobs)

    def sample_batch(
        self, batch: state.BatchInputs, logits: Array, mask: state.TokenMask, flags: StaticFlags
    ) -> state.SampleOutput:
        """Launch sampling for a batch."""
        self.slots, sampled = sample_step(self.slots, batch, logits, mask, self.num_logprobs, flags)
        return sampled

    def encode_images(self, pixels: np.ndarray) -> tuple[Array, ...]:
        """Return the embeddings of each image of a batch of pixels, (B, 3, S, S)."""
        return self.program.encode_images(self.weights, pixels)

    def to_device(self, tree: Any) -> Any:
        """Upload arrays; with several devices, to every one."""
        return to_devices(tree, self.replicated)


def no_image_embeddings(
    model: Llama, settings: Settings, layout: PrefillLayout
) -> dict[int, ImageEmbeddings]:
    """Return the image embeddings of every launch without images, by its number of tokens."""
    if model.config.vision is None:
        return {}
    counts = *layout.sizes, *layout.mixed_sizes
    sizes = {*settings.batch_sizes, *(n * layout.segment_size for n in counts)}
    dtype = model.embed_tokens[...].dtype
    return {n: no_images(n, model.config.hidden_size, dtype) for n in sizes}


def full_masks(batch_sizes: tuple[int, ...], vocab_size: int) -> dict[int, state.TokenMask]:
    """Return the masks of batches without constrained rows, by batch size."""
    words = -(-vocab_size // 32)
    return {
        size: state.TokenMask(np.zeros(size, np.bool_), np.zeros((size, words), np.int32))
        for size in batch_sizes
    }


def flags_of(rows: Collection[DecodeRow]) -> StaticFlags:
    """Return the static flags of a batch."""
    return static_flags([row.sequence.state.request.params for row in rows])
