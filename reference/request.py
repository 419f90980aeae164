"""What goes into an engine and what comes out of it: data only, shared by every backend.

Text never enters an engine and logits never leave one. A request goes in as token ids and
parameters; out come, in this order, one `PromptProcessed`, for each choice its
`TokenGenerated` events, and one `RequestFinished`.
Events of different choices may alternate; those of one choice come in order.
"""

import hashlib
import secrets
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from reference.grammar.language.expressions import Language
from reference.params import CompletionParams


@dataclass(frozen=True, eq=False)
class Image:
    """pixels: what the vision tower reads. digest: tells images apart by what the model sees."""

    pixels: Float32[np.ndarray, "3 S S"]
    digest: bytes

    @classmethod
    def of(cls, pixels: Float32[np.ndarray, "3 S S"]) -> "Image":
        return cls(pixels, hashlib.sha256(pixels.tobytes()).digest())


@dataclass(frozen=True)
class ImageSpan:
    """An image at the places start … stop − 1 of a prompt."""

    image: Image
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt and what to do with it.

    prompt: token ids, at least one, all within the vocabulary; a placeholder stands there as often
    as an image has rows. images: where each stands, in order. seed: any integer, used modulo 2^64.
    principal: whose request it is, as far as sharing a prompt cache goes. language: what
    `params.response_format` allows, None for every text. `params.user` does nothing here: a user is
    for abuse monitoring only. `params.data` has become `images`.
    """

    prompt: tuple[int, ...]
    params: CompletionParams
    seed: int
    principal: str = ""
    language: Language | None = None
    images: tuple[ImageSpan, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError if a response_format came without its language: it would be ignored."""
        kind = (self.params.response_format or {}).get("type", "text")
        if (kind != "text") != (self.language is not None):
            raise ValueError(f"language: {self.language} does not belong to {kind!r}")

    @classmethod
    def of(
        cls,
        prompt: list[int],
        params: CompletionParams,
        principal: str = "",
        language: Language | None = None,
        images: tuple[ImageSpan, ...] = (),
    ) -> "Request":
        """A request whose seed is the one asked for, or a fresh one."""
        seed = secrets.randbits(64) if params.seed is None else params.seed
        return cls(
            prompt=tuple(prompt),
            params=params,
            seed=seed,
            principal=principal,
            language=language,
            images=images,
        )

    def images_within(self, start: int, stop: int) -> tuple[ImageSpan, ...]:
        """The images that have a row at one of the places start … stop − 1 of the prompt."""
        return tuple(p for p in self.images if p.start < stop and start < p.stop)

    @property
    def reports_prompt(self) -> bool:
        """Whether the log-probabilities of the prompt are asked for."""
        return bool(self.params.echo) and self.params.logprobs is not None


@dataclass(frozen=True)
class TokenLogprobs:
    """A token's log-probability and those of the likeliest tokens, likeliest first, as (id, value)
    pairs.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class PromptProcessed:
    """The prompt has been read. reports: one per prompt token, if asked for; None for the first,
    and for the places of images, which were not the model's to foresee.
    """

    cached_tokens: int
    prompt_logprobs: tuple[TokenLogprobs | None, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class TokenGenerated:
    """One generated token. The last of its choice has a finish_reason: "stop" or "length".

    stop_reason: the id among `stop_token_ids` that ended the choice; None for end-of-sequence.
    """

    choice: int
    token: int
    logprobs: TokenLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | None = None


@dataclass(frozen=True, kw_only=True)
class RequestFinished:
    """Nothing more will come. error: why the request could not be finished, None if it was."""

    error: Exception | None = None


Event = PromptProcessed | TokenGenerated | RequestFinished


@dataclass(frozen=True)
class EngineStats:
    """Health and load of an engine.

    healthy: the engine answers requests. running, waiting: numbers of requests.
    """

    healthy: bool
    running: int
    waiting: int
