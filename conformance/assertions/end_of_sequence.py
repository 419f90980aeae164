"""Texts that end by themselves, and samples computed by the reference."""

from collections.abc import Iterable
from typing import Any

from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import unique_token_names
from conformance.harness.once import once_per_run
from conformance.http.client import Server
from conformance.http.oracle import Oracle
from conformance.http.response import Choice
from conformance.verdicts import Inconclusive
from reference.logprobs import log_softmax
from reference.sampler import final_logits, gumbel_argmax
from reference.threefry import noise

# Any range will do; with this one the tests' random model needs few attempts.
CANDIDATE_SEEDS = range(12_500, 22_500)
MAX_TOKENS = 60
ENDING_PROMPTS = ("A: A dog says woof.", "Q: What does a cat say?\nA: A cat says", "The end.")


def reference_first_token(oracle: Oracle, prompt: str, seed: int, **params: Any) -> int:
    """Return the first token that the reference samples."""
    step = oracle.first_step(prompt, params)
    return gumbel_argmax(
        final_logits(step.logits, step.history), noise(seed, 0, 0, len(step.logits))
    )


def seeded_request_for(
    oracle: Oracle, tokens: Iterable[int], **params: Any
) -> tuple[dict[str, Any], int]:
    """Return request fields with which the reference first samples one of some tokens, and which.

    Raises Inconclusive if none of many seeds does.
    """
    tokens = list(tokens)
    if not tokens:
        raise Inconclusive("the model has no such token")
    steps = {prompt: oracle.first_step(prompt, params) for prompt in PROMPTS}
    final = {p: log_softmax(final_logits(s.logits, s.history)) for p, s in steps.items()}
    # The tokens are unlikely: search the seeds with the most likely pair of prompt and token.
    _, prompt, token = max((x[t], p, t) for p, x in final.items() for t in tokens)
    for seed in CANDIDATE_SEEDS:
        if gumbel_argmax(final[prompt], noise(seed, 0, 0, len(final[prompt]))) == token:
            return {"prompt": prompt, "seed": seed, **params}, token
    raise Inconclusive(f"none of {len(CANDIDATE_SEEDS)} seeds samples the token from this model")


@once_per_run
def ended_completion(server: Server) -> tuple[dict[str, Any], Choice]:
    """Return the fields of a request whose text ends at an end-of-sequence token, and its choice.

    The prompts tried first may end greedily; else the oracle finds a seed that samples the token.
    """
    logprobs_fields = {"logprobs": 0, **unique_token_names(server)}
    for prompt in ENDING_PROMPTS:
        fields: dict[str, Any] = {"prompt": prompt, "max_tokens": MAX_TOKENS, **logprobs_fields}
        choice = server.complete(**fields).choice
        if choice.finish_reason == "stop":
            return fields, choice
    ends = server.oracle.model.checkpoint.eos_token_ids
    seeded, _ = seeded_request_for(server.oracle, ends, temperature=2)
    fields = {**seeded, "max_tokens": 2, **logprobs_fields}
    choice = server.complete(**fields).choice
    if choice.finish_reason != "stop":
        raise Inconclusive("no text of those tried ends by itself")
    return fields, choice
