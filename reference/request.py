"""The data types of the engine interface, shared by every backend: requests in, events out.

Text never enters an engine and logits never leave one. A request has token ids and parameters. Its
events are, in this order: one `PromptProcessed`; for each choice its `TokenGenerated` events; one
`RequestFinished`. Events of different choices may be interleaved; those of one choice are in order.
"""

import hashlib
import secrets
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

from reference.grammar.language.expressions import Language
from reference.params import CompletionParams


@dataclass(frozen=True, eq=False)
class Image:
    """A preprocessed image. pixels: input of the vision encoder. digest: hash of the pixels."""

    pixels: Float32[np.ndarray, "3 S S"]
    digest: bytes

    @classmethod
    def of(cls, pixels: Float32[np.ndarray, "3 S S"]) -> "Image":
        """Build an image, and compute its digest."""
        return cls(pixels, hashlib.sha256(pixels.tobytes()).digest())


@dataclass(frozen=True)
class ImageSpan:
    """An image at the positions start … stop − 1 of a prompt."""

    image: Image
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prompt and its parameters.

    prompt: token ids, at least one, all within the vocabulary; the placeholder of an image is
    repeated for each of its image tokens. images: their spans, in order. seed: any integer, used
    modulo 2^64. principal: the owner of the request; only requests of one owner share a prompt
    cache. language: the outputs that `params.response_format` allows, None for any text.
    `params.data` is replaced by `images`.

    Meaning:   `params.user` identifies an end user for abuse monitoring. No engine reads it.
    Off value: null.
    Example:   the seed of the request is the one in `params`, whatever the user is.
               >>> request = Request.of([1, 2], CompletionParams(user="u-1", seed=7))
               >>> (request.prompt, request.seed, request.params.user)
               ((1, 2), 7, 'u-1')
    """

    prompt: tuple[int, ...]
    params: CompletionParams
    seed: int
    principal: str = ""
    language: Language | None = None
    images: tuple[ImageSpan, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError if only one of `language` and response_format constrains the output.

        Engines read `language` only.
        """
        kind = (self.params.response_format or {}).get("type", "text")
        if (kind != "text") != (self.language is not None):
            raise ValueError(
                f"language: must be set if and only if response_format is not text, got "
                f"{type(self.language).__name__} with {kind!r}"
            )

    @classmethod
    def of(
        cls,
        prompt: list[int],
        params: CompletionParams,
        principal: str = "",
        language: Language | None = None,
        images: tuple[ImageSpan, ...] = (),
    ) -> "Request":
        """Build a request. Without a seed in `params` it gets a fresh random one."""
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
        """Return the images that overlap the positions start … stop − 1 of the prompt."""
        return tuple(span for span in self.images if span.start < stop and start < span.stop)

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Return whether `PromptProcessed` must have prompt_logprobs."""
        return bool(self.params.echo) and self.params.logprobs is not None


@dataclass(frozen=True)
class TokenLogprobs:
    """Log-probability of a token. top: (id, value) pairs, the most likely token first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True)
class PromptProcessed:
    """The prefill is complete.

    cached_tokens: number of prompt tokens taken from the prefix cache. prompt_logprobs: one entry
    per prompt token, if requested; None for the first token and at image positions, which the
    model does not predict. queue_seconds, prefill_seconds: the time until prefill started, and
    from there until it was complete; two events with different times are equal.
    """

    cached_tokens: int
    prompt_logprobs: tuple[TokenLogprobs | None, ...] | None = None
    queue_seconds: float = field(default=0.0, compare=False)
    prefill_seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, kw_only=True)
class TokenGenerated:
    """One generated token. The last one of its choice has a finish_reason: "stop" or "length".

    stop_reason: the id of `stop_token_ids` that ended the choice; None for end-of-sequence. The
    parameters of a `Request` include the ids that stop strings name.
    """

    choice: int
    token: int
    logprobs: TokenLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | None = None


@dataclass(frozen=True, kw_only=True)
class RequestFinished:
    """The last event of a request. error: the reason if the request failed, else None."""

    error: Exception | None = None


Event = PromptProcessed | TokenGenerated | RequestFinished


@dataclass(frozen=True, kw_only=True)
class EngineStats:
    """Health and load of an engine, and what it has counted since its start.

    healthy: the engine serves requests. failed: it does not, because of an error. running, waiting:
    numbers of requests. stalled_seconds: how long the step in progress has taken so far, 0 between
    steps. kv_cache_usage: the fraction of the KV cache that requests hold, from 0 to 1; a cached
    prefix that no request uses does not count.
    preemptions: of sequences, for lack of KV cache. prefix_cache_queries: prompt tokens of the
    requests that have started. prefix_cache_hits: how many of them were in the prefix cache.
    draft_tokens: guessed tokens that were verified (speculative decoding). accepted_draft_tokens:
    how many of them are in an output.
    """

    healthy: bool
    running: int
    waiting: int
    failed: bool = False
    stalled_seconds: float = 0.0
    kv_cache_usage: float = 0.0
    preemptions: int = 0
    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0
    draft_tokens: int = 0
    accepted_draft_tokens: int = 0
