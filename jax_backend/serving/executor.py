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

from jax_backend.grammar.token_mask import GrammarCompiler, MatcherState
from jax_backend.model import sharding
from jax_backend.model.llama import ImageEmbeddings, Llama
from jax_backend.numerics.branches import StaticFlags, static_flags
from jax_backend.serving import state
from jax_backend.serving.decode import sample_step
from jax_backend.serving.images import ImageEmbedder
from jax_backend.serving.plan import DecodeRow, PrefillChunk, Sequence, StepPlan
from jax_backend.serving.prefill import no_images
from jax_backend.serving.program import compiled_program
from jax_backend.serving.settings import Settings
from jax_backend.serving.uploads import pack_batch, pack_chunk, pack_slot
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

        graph, weights = nnx.split(model)
        self.weights, structure = jax.tree.flatten(weights)
        self.program = compiled_program(graph, structure)
        self.replicated = None if model.mesh is None else sharding.replicated(model.mesh)
        self.layers = state.empty_pages(model, settings.num_pages, settings.page_size)
        self.slots = self.to_device(state.empty_slots(settings.slots, self.vocab_size))
        self.full_masks = {size: self._full_mask(size) for size in self.batch_sizes}

        dtype = model.embed_tokens[...].dtype
        sizes = {*settings.batch_sizes, *settings.chunk_sizes} if config.vision else set()
        no_image = {n: self.to_device(no_images(n, config.hidden_size, dtype)) for n in sizes}
        self.images = ImageEmbedder(self.encode_images, settings.image_batch_sizes, no_image)
        self.grammars = GrammarCompiler(vocabulary, eos)
        self._grammar_states: dict[int, list[MatcherState]] = {}  # of each sequence, by request id

    def start(self, plan: StepPlan) -> InFlightStep:
        """Launch a step, except for sampling if a row needs a token mask: that is left to `sample`.
        Does not wait for the device.
        """
        prompt_logprobs = self.prefill(plan.chunk) if plan.chunk else None
        for source, target in plan.page_copies:
            self.layers = state.copy_page(self.layers, np.int32(source), np.int32(target))
        for sequence in plan.admitted:
            values = pack_slot(sequence, self.vocab_size, self.eos, self.disallowed_token_ids)
            self.slots = state.set_slot(self.slots, np.int32(sequence.slot), values)
        if not plan.rows:
            return InFlightStep(plan, prompt_logprobs)
        batch = self.pack(plan.rows)
        logits = self.decode_forward(batch, self.images.of_batch(plan.rows, len(batch.slot)))
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
        grammars = self._grammars(rows)
        grammars += [None] * (len(batch.slot) - len(grammars))
        bits, errors = self.grammars.token_masks(grammars)
        constrained = np.array([grammar is not None for grammar in grammars])
        mask = self.to_device(state.TokenMask(constrained, bits))
        failed = {i: error for i, error in enumerate(errors) if error}
        sampled = self.sample_batch(batch, logits, mask, flags_of(rows))
        return replace(step, decoded=None, sampled=sampled, mask_errors=failed)

    def constrain(self, request_id: int, grammar: MatcherState, num_sequences: int) -> None:
        """Make the sequences of a request follow a grammar, each from its initial state."""
        self._grammar_states[request_id] = [grammar.copy() for _ in range(num_sequences)]

    def grammar_state(self, sequence: Sequence) -> MatcherState | None:
        """Return the grammar state of a sequence, None if its output is unconstrained."""
        states = self._grammar_states.get(sequence.state.request_id)
        return states and states[sequence.index]

    def num_allowed(self, sequence: Sequence, tokens: list[int]) -> int:
        """Return how many tokens its grammar allows as the next ones of a sequence."""
        grammar = self.grammar_state(sequence)
        return len(tokens) if grammar is None else grammar.num_allowed(tokens)

    def _grammars(self, rows: Collection[DecodeRow]) -> list[MatcherState | None]:
        """Return the grammar state before each row samples, None for a row without a mask."""
        states: list[MatcherState | None] = []
        for row in rows:
            state = self.grammar_state(row.sequence) if row.is_needed else None
            if state is not None and row.is_draft and row.token is not None:
                state = (states[-1] or state).copy()
                state.push(row.token)
            states.append(state)
        return states

    def release(self, request_id: int) -> None:
        """Drop the grammar states and the image embeddings of a request."""
        self._grammar_states.pop(request_id, None)
        self.images.release(request_id)

    def prefill(self, chunk: PrefillChunk) -> state.PromptLogprobs | None:
        """Launch a prefill chunk. Return the log-probabilities of the prompt, if requested."""
        inputs = pack_chunk(chunk, self.pages_per_sequence)
        top = None if chunk.prefill.prompt_logprobs is None else self.num_logprobs
        self.layers, prompt_logprobs = self.program.prefill_chunk(
            self.weights, self.layers, inputs, self.images.of_chunk(chunk), top
        )
        return prompt_logprobs

    def pack(self, rows: Collection[DecodeRow]) -> state.BatchInputs:
        """Pack rows into the smallest batch that holds them."""
        size = next(size for size in self.batch_sizes if size >= len(rows))
        return pack_batch(rows, size, self.pages_per_sequence, self.pad_slot)

    def decode_forward(self, batch: state.BatchInputs, images: ImageEmbeddings | None) -> Array:
        """Launch the forward pass of a batch. Return its logits."""
        self.layers, logits = self.program.decode_forward(
            self.weights, self.layers, self.slots.last_token, batch, images
        )
        return logits

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
        return jax.device_put(tree, self.replicated)

    def _full_mask(self, batch_size: int) -> state.TokenMask:
        """Return the mask of a batch without constrained rows."""
        bits = np.zeros((batch_size, -(-self.vocab_size // 32)), np.int32)
        return self.to_device(state.TokenMask(np.zeros(batch_size, np.bool_), bits))


def flags_of(rows: Collection[DecodeRow]) -> StaticFlags:
    """Return the static flags of a batch."""
    return static_flags([row.sequence.state.request.params for row in rows])
