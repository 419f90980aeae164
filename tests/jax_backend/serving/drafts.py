"""Drafts of every quality, for tests that no draft changes an output."""

import random
from collections.abc import Mapping, Sequence

from conformance.parity.harness.requests import RequestOutput
from jax_backend.serving.scheduling import plan
from jax_backend.serving.scheduling.rows import draft_limit
from reference.request import Request

LONGER_THAN_ALLOWED = 3  # tokens; the row planner has to cut such drafts


class RandomDrafter:
    """Proposes the true output, the true output with wrong tokens, random tokens, or no draft.

    outputs: of the requests without drafts, by id() of the request; with none, drafts are random.
    proposed: how many tokens were proposed.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        outputs: Sequence[RequestOutput],
        vocab_size: int,
        seed: int,
    ) -> None:
        self.outputs: Mapping[int, RequestOutput] = dict(
            zip(map(id, requests), outputs, strict=True)
        )
        self.vocab_size, self.rng, self.proposed = vocab_size, random.Random(seed), 0

    def should_wait(self, sequences: list[plan.Sequence]) -> bool:
        return self.rng.random() < 0.5

    def drafts(self, sequences: list[plan.Sequence]) -> dict[plan.Sequence, list[int]]:
        drafts = {s: self.draft(s) for s in sequences if self.rng.random() < 0.8}
        self.proposed += sum(map(len, drafts.values()))
        return drafts

    def draft(self, sequence: plan.Sequence) -> list[int]:
        count = self.rng.randint(0, max(0, draft_limit(sequence)) + LONGER_THAN_ALLOWED)
        count = min(count, self.rng.choice([1, 2, 3, 8]))
        right = self.true_output(sequence)[:count]
        draft = right + [self.any_token() for _ in range(count - len(right))]
        wrong = self.rng.choice([0, 0, 0.3, 1])
        return [self.any_token() if self.rng.random() < wrong else token for token in draft]

    def true_output(self, sequence: plan.Sequence) -> list[int]:
        """Return the tokens that the sequence will have; none if they are not known."""
        output = self.outputs.get(id(sequence.state.request))
        return output.tokens[sequence.index][len(sequence.tokens) :] if output else []

    def any_token(self) -> int:
        return self.rng.randrange(self.vocab_size)
