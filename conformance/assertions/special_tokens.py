"""Prompts that contain special tokens."""

from collections.abc import Collection

import numpy as np

from conformance.fixtures.prompts import PROMPTS
from conformance.http.oracle import Oracle
from conformance.oracle.dialects import STEP_NAMES, chain
from conformance.oracle.greedy_paths import CLEAR_GAP
from conformance.verdicts import Inconclusive

# Raises the logits of the prompt's tokens so much that the argmax is one of them.
REPEATING = {"temperature": 0, "repetition_penalty": 0.01}


def token_name(oracle: Oracle, token: int) -> str:
    """Return the text of a special token."""
    return oracle.model.tokenizer.token_bytes(token).decode()


def prompts_before_special_tokens(
    oracle: Oracle, disallowed: Collection[int]
) -> list[tuple[str, int]]:
    """Return at most three prompts after which a disallowed token would clearly be the argmax if it
    were allowed, with that token.
    """
    without_mask = chain(STEP_NAMES[1:])
    ids = sorted(disallowed)
    names = [token_name(oracle, token) for token in ids[:8]]
    prompts: list[tuple[str, int]] = []
    for prompt in (text + name for text in ("", *PROMPTS) for name in names):
        step = oracle.first_step(prompt, REPEATING)
        scores = without_mask(step.logits, step.history)
        if scores[ids].max() > np.delete(scores, ids).max() + CLEAR_GAP:
            prompts.append((prompt, ids[int(scores[ids].argmax())]))
        if len(prompts) == 3:
            break
    return prompts


def prompt_with_special_tokens(oracle: Oracle) -> str:
    """Return a text with special tokens between words, spaces and characters of several bytes.

    Raises Inconclusive if no text encodes to a special token.
    """
    names = [token_name(oracle, token) for token in sorted(oracle.special_ids)]
    encoded = {name for name in names if name and oracle.ids("a" + name)[-1] in oracle.special_ids}
    if not encoded:
        raise Inconclusive("no text encodes to a special token")
    first, last = min(encoded), max(encoded)
    return f"Hi{first}\n{last}user said{first}{last} Zoë 🙂{first}  Then{last}é{first}"
