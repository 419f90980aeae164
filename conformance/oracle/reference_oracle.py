"""The oracle: the reference model with the server's own weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from conformance.http.oracle import DecodeStep
from conformance.http.response import Choice
from conformance.oracle.token_names import TokenNames
from conformance.verdicts import Inconclusive, Unsupported
from reference import sampler
from reference.bundle import Bundle
from reference.generate import generate
from reference.grammar.response_format import compile_format
from reference.images.placement import ImagesUnsupported, expand_placeholders, image_uris
from reference.logits import Logits, probabilities
from reference.logprobs import log_softmax
from reference.output_text import prompt_text, start_choice
from reference.params import CompletionParams
from reference.prompt import prompt_ids
from reference.request import ImageSpan, PromptProcessed, Request, TokenGenerated, TokenLogprobs
from reference.sampler import SamplingHistory
from reference.stopping import resolve_stop_strings

# Error of a log-probability, with float32 on both sides: over hundreds of prompt tokens, two orders
# of summation differ by a few 1e-5 of a logit. `preflight` measures that of fewer bits.
TOLERANCE = 1e-3


def snapshot(history: SamplingHistory) -> SamplingHistory:
    """Return a copy: decoding updates a history in place."""
    allowed, present, counts = (
        x.copy() for x in (history.allowed, history.present, history.counts)
    )
    return replace(history, allowed=allowed, present=present, counts=counts)


class ReferenceOracle:
    """The reference model as an `Oracle`, which documents the methods.

    stripped_names: the server's token strings lack their leading space.
    """

    def __init__(
        self, model: Bundle, tolerance: float = TOLERANCE, *, stripped_names: bool = False
    ) -> None:
        self.model, self.tolerance = model, tolerance
        self._names = TokenNames(model, stripped_names)
        self._cached_first = lru_cache(256)(self._first_logits)
        self._cached_text = lru_cache(50_000)(self._token_text)

    def error_of(self, logprob: float) -> float:
        likely = -math.expm1(min(logprob, 0.0)) * math.expm1(self.tolerance)
        return min(self.tolerance, max(TOLERANCE, likely))

    @property
    def special_ids(self) -> frozenset[int]:
        images = self.model.image_processor
        return self.model.tokenizer.special_ids - (
            set() if images is None else {images.image_token_id}
        )

    def ids(self, prompt: str | Sequence[int]) -> tuple[int, ...]:
        model = self.model
        return tuple(prompt_ids(model.tokenizer, prompt, model.vocab_size, model.context))

    def expand_images(
        self, prompt: str | Sequence[int], data: Mapping[str, Any] | None
    ) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]:
        ids = self.ids(prompt)
        if not image_uris(data):
            return ids, ()
        try:
            [(expanded, images)] = expand_placeholders(
                [ids], data, self.model.image_processor, self.model.context
            )
        except ImagesUnsupported:
            raise Inconclusive("the checkpoint of --truth is text-only") from None
        return tuple(expanded), images

    def logits(self, prompt: str | Sequence[int]) -> Logits:
        return self._cached_first(self.ids(prompt), ())

    def logprobs(self, prompt: str | Sequence[int]) -> Logits:
        return log_softmax(self.logits(prompt))

    def _first_logits(self, ids: tuple[int, ...], images: tuple[str, ...]) -> Logits:
        [step] = self.steps(ids, {"data": {"image": images}}, [0])
        return step.logits

    def steps(
        self, prompt: str | Sequence[int], params: dict[str, Any], output: Sequence[int]
    ) -> list[DecodeStep]:
        steps: list[DecodeStep] = []
        if not output:
            return steps
        completion_params = self._params(**params | {"max_tokens": len(output), "n": 1})

        def choose_output(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
            token = int(output[len(steps)])
            steps.append(DecodeStep(logits, snapshot(history), token, self.tolerance))
            return token

        language = compile_format(completion_params.response_format)
        ids, images = self.expand_images(prompt, completion_params.data)
        request = Request(
            prompt=ids, params=completion_params, seed=0, language=language, images=images
        )
        for _ in generate(self.model, request, sample=choose_output):
            # The grammar has no state after a token that it disallows.
            if language and steps and not steps[-1].history.allowed[steps[-1].token]:
                break
        return steps

    def _params(self, **params: Any) -> CompletionParams:
        """Return the parameters as an engine receives them."""
        return resolve_stop_strings(CompletionParams(**params), self.model.vocabulary)

    def first_step(self, prompt: str | Sequence[int], params: dict[str, Any]) -> DecodeStep:
        ids = self.ids(prompt)
        completion_params = self._params(**params | {"n": 1})
        logits = self._cached_first(ids, tuple(image_uris(completion_params.data)))
        stop_ids = completion_params.stop_token_ids
        ends = frozenset(self.model.checkpoint.eos_token_ids) | frozenset(stop_ids)
        size = self.model.vocab_size
        present = np.zeros(size, np.bool_)
        present[list(ids)] = True
        history = SamplingHistory(
            params=completion_params,
            allowed=sampler.allowed_tokens(size, self.model.disallowed_token_ids, ends),
            present=present,
            counts=np.zeros(size, np.int64),
        )
        return DecodeStep(logits, history, -1, self.tolerance)

    def prompt_logprobs(
        self, prompt: str | Sequence[int], top: int, data: Mapping[str, Any] | None = None
    ) -> Sequence[TokenLogprobs | None]:
        params = CompletionParams(max_tokens=1, echo=True, logprobs=top)
        ids, images = self.expand_images(prompt, data)
        request = Request(prompt=ids, params=params, seed=0, images=images)
        event = next(iter(generate(self.model, request)))
        assert isinstance(event, PromptProcessed) and event.prompt_logprobs is not None
        return event.prompt_logprobs

    def token_text(self, prompt: str | Sequence[int], token: int) -> str:
        return self._cached_text(prompt if isinstance(prompt, str) else tuple(prompt), token)

    def _token_text(self, prompt: str | tuple[int, ...], token: int) -> str:
        tokenizer = self.model.tokenizer
        ids, text = self.ids(prompt), prompt_text(tokenizer, prompt)
        choice = start_choice(tokenizer, CompletionParams(), ids, text)
        ended = token in self.model.checkpoint.eos_token_ids
        event = TokenGenerated(choice=0, token=token, finish_reason="stop" if ended else "length")
        return choice.push(event).text

    def text_probabilities(self, prompt: str | Sequence[int], final: Logits) -> dict[str, float]:
        p = probabilities(final)
        texts: dict[str, float] = {}
        for token in np.flatnonzero(p > 0):
            text = self.token_text(prompt, int(token))
            texts[text] = texts.get(text, 0.0) + float(p[token])
        return texts

    def token_ids(self, choice: Choice, prompt: str | Sequence[int] | None = None) -> list[int]:
        try:
            return [self.token_id(name) for name in choice.logprobs.tokens]
        except Unsupported:
            if prompt is None:
                raise
            return identified_ids(self, choice, prompt)

    def is_near(self, value: float, exact: float) -> bool:
        return abs(value - exact) <= self.error_of(exact)

    def token_id(
        self, name: str, value: float | None = None, logprobs: Logits | None = None
    ) -> int:
        ids = self.ids_named(name)
        if len(ids) > 1 and value is not None and logprobs is not None:
            ids = [i for i in ids if self.is_near(value, float(logprobs[i]))]
        if len(ids) != 1:
            raise Unsupported(f"{name!r} is not the string of exactly one token of the checkpoint")
        return ids[0]

    def ids_named(self, name: str) -> list[int]:
        return self._names.ids(name)


def identified_ids(
    oracle: ReferenceOracle, choice: Choice, prompt: str | Sequence[int]
) -> list[int]:
    """Return the ids of a choice whose token strings are ambiguous, by their log-probabilities."""
    columns, ids = choice.logprobs, list[int]()

    def identify(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        i = len(ids)
        ids.append(oracle.token_id(columns.tokens[i], columns.values[i], log_softmax(logits)))
        return ids[-1]

    params = CompletionParams(max_tokens=len(columns.tokens))
    request = Request(prompt=oracle.ids(prompt), params=params, seed=0)
    for _ in generate(oracle.model, request, sample=identify):
        pass
    return ids
