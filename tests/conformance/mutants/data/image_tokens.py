"""Mutants of the tokens of an image: usage, echo, log-probabilities, sampling."""

from dataclasses import replace

from starlette.types import ASGIApp

from conformance.fixtures.images import PLACEHOLDER
from reference import sampler
from reference.bundle import Bundle
from reference.images import decoding
from reference.images.limits import ImageLimits
from reference.logits import Logits
from tests.conformance.mutants import mutant
from tests.conformance.mutants.data.helpers import (
    image_uris,
    replace_images,
    with_echoed_logprobs,
    with_image_responses,
)
from tests.conformance.mutations.engine import Json, conforming_app, with_sampler
from tests.conformance.mutations.requests import mutate_body

LOW_LOGPROB = -20.0


def add_prompt_tokens(answer: Json, count: int) -> None:
    for name in "prompt_tokens", "total_tokens":
        answer["usage"][name] += count


@mutant("data/text-only-unaffected")
def last_image_remembered(model: Bundle) -> ASGIApp:
    """Use the last image for a prompt without an image, too."""
    last: list[str] = []

    def recall(body: Json) -> Json:
        if uris := image_uris(body):
            last[:] = uris[-1:]
        elif last and isinstance(body["prompt"], str):
            return replace_images(body | {"prompt": PLACEHOLDER + body["prompt"]}, last)
        return body

    return mutate_body(conforming_app(model), recall)


@mutant("data/text-only-unaffected")
def text_only_refused(model: Bundle) -> ASGIApp:
    """Refuse a prompt without an image."""

    def refused(body: Json) -> Json:
        return body if image_uris(body) else replace_images(body, ["none"])

    return mutate_body(conforming_app(model), refused)


@mutant("data/image-tokens-in-usage", "data/image-token-count")
def one_token_per_image(model: Bundle) -> ASGIApp:
    """Count one token for each image in usage."""

    def change(answer: Json, request: Json) -> None:
        per_image = model.image_processor.tokens_per_image if model.image_processor else 1
        add_prompt_tokens(answer, -(per_image - 1) * len(image_uris(request)))

    return with_image_responses(model, change)


@mutant("data/image-tokens-in-usage")
def more_tokens_for_large_images(model: Bundle) -> ASGIApp:
    """Count more tokens for a large image in usage."""

    def change(answer: Json, request: Json) -> None:
        images = [decoding.decode_image(uri, ImageLimits()) for uri in image_uris(request)]
        add_prompt_tokens(answer, 9 * sum(image.width > 300 for image in images))

    return with_image_responses(model, change)


@mutant("data/image-token-count", "data/image-tokens-in-usage")
def extra_token_per_image(model: Bundle) -> ASGIApp:
    """Count one token too many for each image in usage."""

    def change(answer: Json, request: Json) -> None:
        add_prompt_tokens(answer, len(image_uris(request)))

    return with_image_responses(model, change)


@mutant("data/placeholder-once-in-echo")
def placeholder_repeated_in_echo(model: Bundle) -> ASGIApp:
    """Echo a placeholder for each image token."""

    def change(answer: Json, request: Json) -> None:
        per_image = model.image_processor.tokens_per_image if model.image_processor else 1
        for choice in answer["choices"]:
            choice["text"] = choice["text"].replace(PLACEHOLDER, PLACEHOLDER * per_image)

    return with_image_responses(model, change)


@mutant("data/placeholder-once-in-echo")
def placeholder_dropped_from_echo(model: Bundle) -> ASGIApp:
    """Drop placeholders from an echo, like other special tokens."""

    def change(answer: Json, request: Json) -> None:
        for choice in answer["choices"]:
            choice["text"] = choice["text"].replace(PLACEHOLDER, "")

    return with_image_responses(model, change)


@mutant("data/stream-equals-non-streamed", "data/placeholder-once-in-echo")
def line_break_after_image_lost(model: Bundle) -> ASGIApp:
    """Decode a non-streamed echo from tokens that lose the line break after an image."""

    def change(answer: Json, request: Json) -> None:
        for choice in answer["choices"]:
            choice["text"] = choice["text"].replace(f"{PLACEHOLDER}\n", PLACEHOLDER)

    return with_image_responses(model, change)


@mutant("data/no-logprobs-at-image-tokens")
def logprobs_at_image_tokens(model: Bundle) -> ASGIApp:
    """Report the log-probability of the placeholder at image tokens."""

    def change(logprobs: Json, positions: list[int]) -> None:
        for i in positions:
            logprobs["token_logprobs"][i] = LOW_LOGPROB
            logprobs["top_logprobs"][i] = {PLACEHOLDER: LOW_LOGPROB}

    return with_echoed_logprobs(model, change)


@mutant("data/no-logprobs-at-image-tokens")
def logprob_at_first_image_token(model: Bundle) -> ASGIApp:
    """Report a log-probability at the first token of an image."""

    def change(logprobs: Json, positions: list[int]) -> None:
        for i in positions:
            if i - 1 not in positions:
                logprobs["token_logprobs"][i] = LOW_LOGPROB
                logprobs["top_logprobs"][i] = {PLACEHOLDER: LOW_LOGPROB}

    return with_echoed_logprobs(model, change)


@mutant("data/no-logprobs-at-image-tokens", "data/prompt-logprobs-after-images")
def no_logprob_after_image(model: Bundle) -> ASGIApp:
    """Report null for the token after an image, too."""

    def change(logprobs: Json, positions: list[int]) -> None:
        for i in positions:
            if i + 1 not in positions:
                logprobs["token_logprobs"][i + 1] = logprobs["top_logprobs"][i + 1] = None

    return with_echoed_logprobs(model, change)


@mutant("data/no-logprobs-at-image-tokens", "data/image-tokens-in-usage")
def one_entry_per_image(model: Bundle) -> ASGIApp:
    """Report one logprobs entry for each image in an echo."""

    def change(logprobs: Json, positions: list[int]) -> None:
        for i in reversed([i for i in positions if i - 1 in positions]):
            for items in logprobs.values():
                items.pop(i)

    return with_echoed_logprobs(model, change)


@mutant("data/image-token-offsets")
def offset_per_image_token(model: Bundle) -> ASGIApp:
    """Advance the offset at each token of an image, as if the placeholder were repeated."""

    def change(logprobs: Json, positions: list[int]) -> None:
        shift, length = 0, len(PLACEHOLDER)
        for i, offset in enumerate(logprobs["text_offset"]):
            shift += length if i in positions and i - 1 in positions else 0
            logprobs["text_offset"][i] = offset + shift

    return with_echoed_logprobs(model, change)


@mutant("data/prompt-logprobs-after-images")
def logprobs_shifted_after_image(model: Bundle) -> ASGIApp:
    """Report the log-probability of the next token for each token after an image."""

    def change(logprobs: Json, positions: list[int]) -> None:
        start = positions[-1] + 1
        for name in "token_logprobs", "top_logprobs":
            logprobs[name][start:-1] = logprobs[name][start + 1 :]

    return with_echoed_logprobs(model, change)


@mutant("data/placeholder-not-sampled", "data/argmax-placeholder-not-sampled")
def placeholder_sampled(model: Bundle) -> ASGIApp:
    """Sample the placeholder like any other token."""

    def sample(logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        allowed = history.allowed.copy()
        allowed[model.image_processor.image_token_id if model.image_processor else 0] = True
        return sampler.sample(logits, replace(history, allowed=allowed), noise)

    return with_sampler(model, sample)
