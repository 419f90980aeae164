"""The interface of the reference model that a check compares the server with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from conformance.http.response import Choice
from reference.bundle import Bundle
from reference.logits import Logits
from reference.request import ImageSpan, TokenLogprobs
from reference.sampler import SamplingHistory


@dataclass(frozen=True)
class DecodeStep:
    """One decoding step: the model's logits, the sampling history before it, and the token that the
    server chose. error: the largest error of each logit (V,), or of all of them. shift: the largest
    error that all logits have in common; only a repetition penalty depends on it.
    """

    logits: Logits
    history: SamplingHistory
    token: int
    error: Logits | float = 0.0
    shift: float = 0.0


class Oracle(Protocol):
    """The reference model with the server's weights.

    Shapes: V is the vocabulary size. `params` are the fields of a request; they may contain `data`,
    the images of the prompt.
    """

    @property
    def model(self) -> Bundle: ...

    @property
    def tolerance(self) -> float:
        """The largest error that a log-probability of the server may have: of an unlikely token."""

    def error_of(self, logprob: float) -> float:
        """Return the largest error that a log-probability of this size may have.

        It is smaller for a likely token: if the probability of all others is wrong by the factor
        exp(tolerance), 1 − p is wrong by the same factor.
        """

    def is_near(self, value: float, exact: float) -> bool:
        """Return whether a reported log-probability is within the error of the exact one."""

    @property
    def special_ids(self) -> frozenset[int]:
        """Special tokens that a prompt may contain: all except the image placeholder."""

    def ids(self, prompt: str | Sequence[int]) -> tuple[int, ...]:
        """Return the token ids of a prompt as it is sent."""

    def expand_images(
        self, prompt: str | Sequence[int], data: Mapping[str, Any] | None
    ) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]:
        """Return the ids of a prompt with each placeholder expanded, and the spans of its images.

        Raises Inconclusive if the checkpoint is text-only.
        """

    def logits(self, prompt: str | Sequence[int]) -> Logits:
        """Return the logits (V,) of the token after a prompt."""

    def logprobs(self, prompt: str | Sequence[int]) -> Logits:
        """Return the log-probabilities (V,) of the token after a prompt, as they are reported."""

    def first_step(self, prompt: str | Sequence[int], params: dict[str, Any]) -> DecodeStep:
        """Return the step after a prompt, with token −1. params: without a response_format."""

    def steps(
        self, prompt: str | Sequence[int], params: dict[str, Any], output: Sequence[int]
    ) -> list[DecodeStep]:
        """Return the steps of an output that the server chose.

        There are fewer than output tokens if the output continues after its end, or after a token
        that its format disallows.
        """

    def prompt_logprobs(
        self, prompt: str | Sequence[int], top: int, data: Mapping[str, Any] | None = None
    ) -> Sequence[TokenLogprobs | None]:
        """Return the logprobs entries of an echoed prompt."""

    def token_text(self, prompt: str | Sequence[int], token: int) -> str:
        """Return the text of an output of one token, with max_tokens 1."""

    def text_probabilities(self, prompt: str | Sequence[int], final: Logits) -> dict[str, float]:
        """Return the probability of each text of one token; tokens with equal texts are summed."""

    def token_ids(self, choice: Choice, prompt: str | Sequence[int] | None = None) -> list[int]:
        """Return the ids of a choice with logprobs.

        prompt: identifies tokens that share a string by their values. Raises as `token_id`.
        """

    def token_id(
        self, name: str, value: float | None = None, logprobs: Logits | None = None
    ) -> int:
        """Return the id of a token string in logprobs.

        value, logprobs: what the server reports for the token, and the log-probabilities (V,) at
        its position. Of several tokens with that string, it is the one whose log-probability is
        within the tolerance of the value. Raises Unsupported unless there is exactly one.
        """

    def ids_named(self, name: str) -> list[int]:
        """Return the ids of the tokens with a string in logprobs."""
