"""Seeded draws compared with the reference's Gumbel noise, token by token."""

import numpy as np

from conformance.http.client import Server
from conformance.http.oracle import DecodeStep
from conformance.http.response import Choice
from conformance.oracle.reported_rows import output_steps
from conformance.verdicts import NonStrict
from reference import sampler
from reference.threefry import noise


def assert_matches_seeded_draws(server: Server, prompt: str, seed: int, choice: Choice) -> None:
    """Raise NonStrict if a token is not the one that the reference draws with this seed."""
    oracle = server.oracle
    for position, step in enumerate(output_steps(server, prompt, {"temperature": 1.0}, choice)):
        gumbel = noise(seed, choice.index, position, len(step.logits))
        if not draws_token(step, gumbel):
            expected = sampler.sample(step.logits, step.history, gumbel)
            raise NonStrict(
                f"choice {choice.index} of seed {seed}: {oracle.token_text(prompt, expected)!r} "
                f"as token {position + 1}",
                f"{oracle.token_text(prompt, step.token)!r}, of {choice.text!r}",
                note="another random number generator",
                at=choice.at,
            )


def draws_token(step: DecodeStep, gumbel: np.ndarray) -> bool:
    """Return whether the reference draws the step's token at temperature 1, for some logits within
    their errors.
    """
    scores = sampler.final_logits(step.logits, step.history) + gumbel
    kept = np.isfinite(scores)
    error = np.broadcast_to(step.error, scores.shape)
    highest = scores[step.token] + error[step.token]
    return bool(kept[step.token] and highest >= (scores - error)[kept].max())
