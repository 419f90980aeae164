"""Seeded draws compared with the reference's Gumbel noise, token by token."""

import numpy as np

from conformance.http.oracle import DecodeStep, Oracle
from conformance.http.response import Choice
from conformance.oracle.prompt_search import perturbed
from conformance.verdicts import NonStrict
from reference import sampler
from reference.threefry import noise


def assert_matches_seeded_draws(oracle: Oracle, prompt: str, seed: int, choice: Choice) -> None:
    """Raise NonStrict if a token is not the one that the reference draws with this seed."""
    steps = oracle.steps(prompt, {"temperature": 1.0}, oracle.token_ids(choice))
    for position, step in enumerate(steps):
        gumbel = noise(seed, choice.index, position, len(step.logits))
        if not draws_token(step, gumbel, oracle.tolerance):
            expected = sampler.sample(step.logits, step.history, gumbel)
            raise NonStrict(
                f"choice {choice.index} of seed {seed}: {oracle.token_text(prompt, expected)!r} "
                f"as token {position + 1}",
                f"{oracle.token_text(prompt, step.token)!r}, of {choice.text!r}",
                note="another random number generator",
                at=choice.at,
            )


def draws_token(step: DecodeStep, gumbel: np.ndarray, tolerance: float) -> bool:
    """Return whether the reference draws the step's token, for some logits within the tolerance."""
    candidates = [step.logits, *perturbed(step.logits, tolerance)]
    return any(sampler.sample(x, step.history, gumbel) == step.token for x in candidates)
