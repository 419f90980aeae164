"""When a sequence ends, and why: the twin of `reference.stopping`, for ids only."""

from collections.abc import Collection

from reference.params import DEFAULT_MAX_TOKENS


def token_budget(max_tokens: int | None, context: int, prompt_length: int) -> int:
    """Return the maximum number of output tokens of a choice. Raises ValueError if the prompt
    leaves no room for one.
    """
    room = context - prompt_length
    if room < 1:
        raise ValueError(
            f"prompt: must leave room for output in a context of {context}, "
            f"got {prompt_length} tokens"
        )
    return min(DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens, room)


def finish(
    token: int,
    generated: int,
    budget: int,
    eos_token_ids: Collection[int],
    stop_token_ids: Collection[int],
) -> tuple[str | None, int | None]:
    """Return (finish_reason, stop_reason) after `token`, the `generated`-th of its choice;
    (None, None) to continue.
    """
    if token in eos_token_ids:
        return "stop", None
    if token in stop_token_ids:
        return "stop", token
    return ("length", None) if generated >= budget else (None, None)
