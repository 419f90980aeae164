"""Packing of host data into the arrays that a step takes. They are NumPy: jit uploads them."""

from collections.abc import Collection

import numpy as np

from jax_backend.sampler import Params, SamplingHistory, allowed_tokens
from jax_backend.serving.plan import DecodeRow, PrefillChunk, Sequence
from jax_backend.serving.state import REPEAT_LAST, BatchInputs, ChunkInputs, SlotState
from reference.request import Request


def pack_chunk(chunk: PrefillChunk, pages_per_sequence: int) -> ChunkInputs:
    """Pack a prefill chunk."""
    prompt, end = chunk.prefill.state.prompt, chunk.start + chunk.num_tokens
    return ChunkInputs(
        token=padded(prompt[chunk.start : end], chunk.size),
        next_token=padded(prompt[chunk.start + 1 : end + 1], chunk.size),
        start=np.int32(chunk.start),
        num_cached=np.int32(chunk.num_cached),
        num_tokens=np.int32(chunk.num_tokens),
        page_table=padded(chunk.pages, pages_per_sequence),
    )


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
