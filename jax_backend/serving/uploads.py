"""Packing of host data into the arrays that a step takes. They are NumPy: jit uploads them."""

from collections.abc import Collection

import numpy as np

from jax_backend.sampler import Params, SamplingHistory, allowed_tokens
from jax_backend.serving.scheduling.plan import DecodeRow, PrefillSegment, Sequence
from jax_backend.serving.state import REPEAT_LAST, BatchInputs, SegmentInputs, SlotState
from reference.request import Request


def pack_segments(
    segments: Collection[PrefillSegment],
    num_segments: int,
    segment_size: int,
    pages_per_sequence: int,
) -> SegmentInputs:
    """Pack prefill segments into a launch of `num_segments`."""
    inputs = SegmentInputs(
        token=np.zeros((num_segments, segment_size), np.int32),
        next_token=np.zeros((num_segments, segment_size), np.int32),
        start=np.zeros(num_segments, np.int32),
        num_tokens=np.zeros(num_segments, np.int32),
        page_table=np.zeros((num_segments, pages_per_sequence), np.int32),
    )
    for segment in segments:
        prompt, i, start = segment.prefill.state.prompt, segment.index, segment.start
        count = segment.num_tokens
        inputs.token[i, :count] = prompt[start : start + count]
        inputs.next_token[i, :count] = prompt[start + 1 : start + 1 + count]
        inputs.start[i], inputs.num_tokens[i] = start, count
        inputs.page_table[i, : len(segment.pages)] = segment.pages
    return inputs


def pack_batch(
    rows: Collection[DecodeRow], batch_size: int, pages_per_sequence: int, pad_slot: int
) -> BatchInputs:
    """Pack decode rows and padding rows, whose slot is `pad_slot`, into a batch."""
    page_table = np.zeros((batch_size, pages_per_sequence), np.int32)
    for i, row in enumerate(rows):
        page_table[i, : len(row.pages)] = row.pages
    tokens = (REPEAT_LAST if row.token is None else row.token for row in rows)
    return BatchInputs(
        slot=padded([row.slot for row in rows], batch_size, pad_slot),
        position=padded([row.position for row in rows], batch_size),
        token=padded(list(tokens), batch_size),
        page_table=page_table,
    )


def pack_slot(
    sequence: Sequence, vocab_size: int, eos: frozenset[int], disallowed: frozenset[int]
) -> SlotState:
    """Return the state of one slot, for a sequence that has generated nothing yet."""
    request = sequence.state.request
    return SlotState(
        params=Params.of(request.params, request.seed, sequence.index),
        history=initial_history(request, vocab_size, eos, disallowed),
        last_token=np.int32(0),
        prompt_length=np.int32(len(request.prompt)),
        logprobs=np.bool_(request.params.logprobs is not None),
    )


def initial_history(
    request: Request, vocab_size: int, eos: frozenset[int], disallowed: frozenset[int]
) -> SamplingHistory:
    """Return the sampling history before the first output token: the prompt."""
    ends = eos | frozenset(request.params.stop_token_ids)
    in_prompt = np.zeros(vocab_size, np.bool_)
    in_prompt[list(request.prompt)] = True
    return SamplingHistory(
        allowed=allowed_tokens(vocab_size, disallowed, ends),
        present=in_prompt,
        counts=np.zeros(vocab_size, np.int32),
    )


def int32s(*values: int) -> tuple[np.int32, ...]:
    """Convert Python integers, which jit would otherwise take as weakly typed."""
    return tuple(map(np.int32, values))


def padded(values: list[int] | tuple[int, ...], size: int, padding: int = 0) -> np.ndarray:
    """Return an int32 array of `size`: the values, then padding."""
    array = np.full(size, padding, np.int32)
    array[: len(values)] = values
    return array
