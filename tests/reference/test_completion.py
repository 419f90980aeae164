"""Completions that end at a stop string which names a special token."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from reference.bundle import Bundle
from reference.completion import stream
from reference.generate import Sampler
from reference.params import CompletionParams
from reference.sampler import SamplingHistory


def sample_first(token: int, position: int = 0) -> Sampler:
    """Return a sampler that chooses the argmax, but from a position on a token if it is allowed."""
    positions = count()

    def sample(logits: np.ndarray, history: SamplingHistory, noise: np.ndarray) -> int:
        is_chosen = next(positions) >= position and history.allowed[token]
        return token if is_chosen else int(np.where(history.allowed, logits, -np.inf).argmax())

    return sample


@pytest.mark.parametrize(
    ("stop", "ids", "reason"),
    [(("x", "<s>"), (), "<s>"), (("<s>",), (1,), 1), (("</s>", "<s>"), (), "<s>"), ((), (1,), 1)],
    ids=str,
)
def test_stop_string_that_names_special_token(
    model: Bundle, stop: tuple[str, ...], ids: tuple[int, ...], reason: str | int
) -> None:
    """The token ends the text, is not part of it, and has an entry. `stop_token_ids` takes
    precedence as the reason.
    """
    params = CompletionParams(
        temperature=0, max_tokens=9, logprobs=0, stop=stop, stop_token_ids=ids
    )
    deltas = [d for _, d in stream(model, "The dog", params, sample=sample_first(1, 3))]
    plain = [d for _, d in stream(model, "The dog", replace(params, stop=(), stop_token_ids=()))]
    assert "".join(d.text for d in deltas) == "".join(d.text for d in plain[:3])
    assert (deltas[-1].finish_reason, deltas[-1].stop_reason) == ("stop", reason)
    entries = [e for d in deltas for e in d.entries]
    length = sum(len(d.text) for d in deltas)
    assert [e.token for e in entries][3:] == ["<s>"] and entries[3].offset == length


@pytest.mark.parametrize("stop", [("<s> ",), ("x<s>",), ("<S>",), ("</s>",)], ids=str)
def test_other_stop_strings_leave_special_tokens_masked(
    model: Bundle, stop: tuple[str, ...]
) -> None:
    params = CompletionParams(temperature=0, max_tokens=5, stop=stop)
    deltas = [d for _, d in stream(model, "The dog", params, sample=sample_first(1, 3))]
    assert deltas[-1].finish_reason == "length" and len(deltas) == 5


def test_stop_string_that_names_end_of_sequence_has_no_reason(model: Bundle) -> None:
    params = CompletionParams(temperature=0, max_tokens=9, stop=("</s>",))
    deltas = [d for _, d in stream(model, "The dog", params, sample=sample_first(2, 3))]
    assert (deltas[-1].finish_reason, deltas[-1].stop_reason, len(deltas)) == ("stop", None, 4)


def test_stop_string_that_names_special_token_ends_only_complete_texts(model: Bundle) -> None:
    """Under a format, such a token is allowed where end-of-sequence is."""
    response_format = {"type": "regex", "regex": "a{3}"}
    params = CompletionParams(response_format=response_format, stop=("<s>",), temperature=0)
    deltas = [d for _, d in stream(model, "The dog", params, sample=sample_first(1))]
    assert "".join(d.text for d in deltas) == "aaa"
    assert (deltas[-1].finish_reason, deltas[-1].stop_reason) == ("stop", "<s>")
    unnamed = [d for _, d in stream(model, "The dog", replace(params, stop=()))]
    assert unnamed[-1].stop_reason is None
