"""A decode step, in two launches: the forward pass up to the logits, then sampling. Token masks are
built on the host while the first runs.

The first row of a sequence has its next input token. Further rows of the same slot, at the next
positions, have draft tokens (`jax_backend.serving.drafting`). Attention reads what the rows before
have written, so each row samples what it would if the draft were the output. A row is accepted if
the rows before it have sampled the draft.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from jax_backend import logprobs
from jax_backend.logits import Logits
from jax_backend.model.llama import ImageEmbeddings, TokenBlocks
from jax_backend.numerics.branches import StaticFlags, cond_any, cond_any_unless_gpu
from jax_backend.sampler import Params, SamplingHistory, sample
from jax_backend.serving.state import BatchInputs, SampleOutput, SlotState, TokenMask


def decode_blocks(
    last_token: Int32[Array, "W"], batch: BatchInputs, images: ImageEmbeddings | None
) -> TokenBlocks:
    """Return the input tokens of a decode batch. last_token: of each slot. images: for prompts that
    end with one.
    """
    is_valid = batch.slot < len(last_token)
    return TokenBlocks(
        input_tokens(last_token, batch)[:, None],
        batch.position[:, None],
        is_valid[:, None],
        batch.page_table,
        images,
    )


def input_tokens(last_token: Int32[Array, "W"], batch: BatchInputs) -> Int32[Array, "B"]:
    """Return each row's input token; REPEAT_LAST, which is negative, is its slot's last token."""
    return jnp.where(batch.token < 0, last_token[batch.slot], batch.token)


@partial(jax.jit, static_argnums=(4, 5), donate_argnums=(0,))
def sample_step(
    slots: SlotState,
    batch: BatchInputs,
    logits: Logits,
    mask: TokenMask,
    top: int,
    flags: StaticFlags,
) -> tuple[SlotState, SampleOutput]:
    """Sample the next token of each row, and update the slots by the accepted rows. top: the number
    of top log-probabilities that are returned.
    """
    row: SlotState = jax.tree.map(lambda array: array[batch.slot], slots._replace(history=None))
    is_valid = batch.slot < len(slots.last_token)
    is_output = (batch.position >= row.prompt_length) & is_valid
    token, is_draft = input_tokens(slots.last_token, batch), draft_rows(batch.slot, is_valid)
    history = update_history(slots.history, batch.slot, token, is_output & ~is_draft)
    row_history = jax.tree.map(lambda array: array[batch.slot], history)
    sampled = sample(
        logits,
        neutral_params(row.params, ~is_valid),
        apply_token_mask(add_drafts(row_history, batch.slot, token, is_draft), mask),
        batch.position + 1 - row.prompt_length,
        flags.threshold_search,
    )
    values = cond_any(
        row.logprobs & is_valid,
        # behind a barrier, so that fusion with other operations cannot change the rounding
        lambda: logprobs.token_logprobs(jax.lax.optimization_barrier(logits), sampled, top),
        lambda: (
            jnp.zeros(len(sampled), jnp.float32),
            jnp.zeros((len(sampled), top), jnp.float32),
            jnp.zeros((len(sampled), top), jnp.int32),
        ),
        flags.logprobs,
    )
    is_accepted = accepted_rows(batch.slot, token, is_draft, sampled) & is_valid
    is_last = is_accepted & ~jnp.append(is_accepted & is_draft, False)[1:]
    last_slot = jnp.where(is_last, batch.slot, len(slots.last_token))
    slots = slots._replace(
        history=update_history(history, batch.slot, token, is_accepted & is_draft),
        last_token=slots.last_token.at[last_slot].set(sampled, mode="drop"),
    )
    return slots, SampleOutput(sampled, jnp.isfinite(logits).all(axis=1), *values)


def apply_token_mask(history: SamplingHistory, mask: TokenMask) -> SamplingHistory:
    """Remove the tokens that the mask forbids from those allowed in constrained rows."""

    def masked() -> Bool[Array, "B V"]:
        bits = mask.bits[:, :, None] >> jnp.arange(32, dtype=jnp.int32)[None, None] & 1
        allowed = bits.reshape(len(bits), -1)[:, : history.allowed.shape[1]] == 1
        return history.allowed & (allowed | ~mask.constrained[:, None])

    allowed = cond_any_unless_gpu(mask.constrained, masked, lambda: history.allowed)
    return history._replace(allowed=allowed)


def neutral_params(params: Params, rows: Bool[Array, "B"]) -> Params:
    """Make `rows` greedy and without penalties, so that they activate no step of the sampler. The
    parameters of a padding row are those of some other sequence.
    """
    neutral = {
        "temperature": 0,
        "repetition_penalty": 1,
        "frequency_penalty": 0,
        "presence_penalty": 0,
    }
    changed = {
        name: jnp.where(rows, value, getattr(params, name)) for name, value in neutral.items()
    }
    return params._replace(**changed)


def update_history(
    history: SamplingHistory,
    slot: Int32[Array, "B"],
    token: Int32[Array, "B"],
    is_output: Bool[Array, "B"],
) -> SamplingHistory:
    """Count the input tokens that are output; the prompt was counted when the slot was set up."""
    slot = jnp.where(is_output, slot, len(history.present))
    return history._replace(
        present=history.present.at[slot, token].set(True, mode="drop"),
        counts=history.counts.at[slot, token].add(1, mode="drop"),
    )


def draft_rows(slot: Int32[Array, "B"], is_valid: Bool[Array, "B"]) -> Bool[Array, "B"]:
    """Return whether each row has a draft token: the row before it has the same slot."""
    return (slot == jnp.insert(slot[:-1], 0, -1)) & is_valid


def same_sequence_until(slot: Int32[Array, "B"]) -> Bool[Array, "B B"]:
    """Return, for each row, the rows of its sequence up to itself."""
    return jnp.tril(slot[:, None] == slot[None])


def add_drafts(
    history: SamplingHistory,
    slot: Int32[Array, "B"],
    token: Int32[Array, "B"],
    is_draft: Bool[Array, "B"],
) -> SamplingHistory:
    """Count in the history of each row, (B, V), the draft tokens of its sequence up to its own."""

    def added() -> tuple[Bool[Array, "B V"], Int32[Array, "B V"]]:
        counted_BB = same_sequence_until(slot) & is_draft[None]
        row_Bx = jnp.arange(len(slot), dtype=jnp.int32)[:, None]
        token_BB = jnp.where(counted_BB, token[None], history.present.shape[1])
        return (
            history.present.at[row_Bx, token_BB].set(True, mode="drop"),
            history.counts.at[row_Bx, token_BB].add(1, mode="drop"),
        )

    present, counts = cond_any_unless_gpu(
        is_draft, added, lambda: (history.present, history.counts)
    )
    return history._replace(present=present, counts=counts)


def accepted_rows(
    slot: Int32[Array, "B"],
    token: Int32[Array, "B"],
    is_draft: Bool[Array, "B"],
    sampled: Int32[Array, "B"],
) -> Bool[Array, "B"]:
    """Return whether each row counts: every draft token of its sequence up to its own is the one
    that the row before it has sampled.
    """
    is_wrong = is_draft & (token != jnp.insert(sampled[:-1], 0, -1))
    return ~(same_sequence_until(slot) & is_wrong[None]).any(axis=1)
