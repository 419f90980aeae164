"""The tokens of an image: in usage, in an echo and its log-probabilities, and while sampling."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from conformance.assertions.basic import assert_equal, assert_same_completion, assert_that
from conformance.assertions.images import (
    INTERLEAVED_PROMPT,
    ONE_IMAGE_PROMPT,
    TWO_IMAGE_PROMPT,
    echoed_prompt,
    image_data,
    tokens_per_image,
)
from conformance.assertions.logprobs import dense_logprobs, first_mismatch
from conformance.fixtures import images as image_files
from conformance.fixtures.images import PLACEHOLDER, mosaic_uri
from conformance.harness.capabilities import (
    ECHO,
    LOGPROBS,
    PROMPT_LOGPROBS,
    VISION,
    has,
    unique_token_names,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import PROMPT, Server
from conformance.http.oracle import DecodeStep
from conformance.http.response import Completion, Logprobs
from conformance.oracle.greedy_paths import CLEAR_GAP, completion_with_ids, penalized_logits
from conformance.oracle.sampling import is_accepted
from conformance.verdicts import Evidence, Failed, Inconclusive, Level

checks = CheckGroup("data")

SIZES = ((37, 53), (101, 20), (20, 101), (1, 1), (400, 300))  # width and height
MAX_IMAGES_TRIED = 12  # in search of one after which the placeholder is the argmax

# Raises the logits of the prompt's tokens so much that the argmax is one of them.
REPEATING: dict[str, Any] = {"temperature": 0, "repetition_penalty": 0.01}


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION)
def text_only_unaffected(server: Server) -> None:
    """A vision-language model answers a prompt without images, and gives the same answer before and
    after a prompt with images.
    """
    requests: list[dict[str, Any]] = [{}, {"data": None}, {"data": {"image": []}}]
    logprobs = {"logprobs": 3} if has(server, LOGPROBS) else {}

    def text_only_answers() -> list[Completion]:
        replies = [server.post(**logprobs, **fields) for fields in requests]
        for reply in replies:
            assert_that(reply.status == 200, "status: 200", f"{reply.status}", reply.at)
        return [Completion(reply.json, reply.at) for reply in replies]

    answers = text_only_answers()
    for number in 1, 2:
        server.complete(prompt=ONE_IMAGE_PROMPT, **image_data(mosaic_uri(number)))
        answers += text_only_answers()
    for answer in answers:
        assert_same_completion(answers[0], answer, "the answer to the text alone")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION)
def image_tokens_in_usage(server: Server) -> None:
    """prompt_tokens counts every token of every image, and an image has the same number of tokens
    whatever its size.
    """

    def count_prompt_tokens(prompt: str, *images: str) -> int:
        answer = server.complete(prompt=prompt, max_tokens=1, **image_data(*images))
        total = answer.prompt_tokens + answer.completion_tokens
        assert_equal(answer.usage.get("total_tokens"), total, "total_tokens", answer.at)
        return answer.prompt_tokens

    per_image = tokens_per_image(server)
    images = [image_files.resized_mosaic(0, *size) for size in SIZES]
    assert_that(per_image > 0, "more tokens with another image", per_image, server.last)
    text_tokens = server.complete(prompt=PROMPT, max_tokens=1).prompt_tokens
    for image in images:
        tokens = count_prompt_tokens(PROMPT + PLACEHOLDER, image) - text_tokens
        assert_equal(tokens, per_image, "prompt_tokens of an image", server.last)
    for count in 2, 3:
        prompt = PROMPT + PLACEHOLDER * count
        tokens = count_prompt_tokens(prompt, *images[:count]) - text_tokens
        assert_equal(tokens, count * per_image, f"prompt_tokens of {count} images", server.last)
    if has(server, PROMPT_LOGPROBS):
        answer = echoed_prompt(server, ONE_IMAGE_PROMPT, mosaic_uri(0))
        total = answer.prompt_tokens + answer.completion_tokens
        assert_equal(len(answer.choice.logprobs.tokens), total, "entries", answer.at)
    elif per_image == 1:
        raise Inconclusive("an image counts as one token, and no echoed logprobs show how many")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION, ECHO, spec="output_text.echo")
def placeholder_once_in_echo(server: Server) -> None:
    """With echo, the text is the prompt as it was sent, each placeholder once, followed by the
    output.
    """
    for prompt in (
        ONE_IMAGE_PROMPT,
        TWO_IMAGE_PROMPT,
        INTERLEAVED_PROMPT,
        PLACEHOLDER,
        f" {PLACEHOLDER}  {PLACEHOLDER}",
    ):
        images = image_data(*map(mosaic_uri, range(prompt.count(PLACEHOLDER))))
        plain = server.complete(prompt=prompt, max_tokens=2, **images)
        answer = server.complete(prompt=prompt, max_tokens=2, echo=True, **images)
        assert_equal(answer.text, prompt + plain.text, "text", answer.at)


@checks.consistency(Level.MUST, Evidence.EXACT, VISION, PROMPT_LOGPROBS, spec="output_text.echo")
def no_logprobs_at_image_tokens(server: Server) -> None:
    """In an echo, exactly the image tokens and the first token have null for both their
    log-probability and their top tokens.
    """
    answer = echoed_prompt(server, INTERLEAVED_PROMPT, mosaic_uri(0), mosaic_uri(1))
    logprobs, count = answer.choice.logprobs, 2 * tokens_per_image(server)
    nulls = [i for i, value in enumerate(logprobs.values) if value is None]
    without_top = [i for i, top in enumerate(logprobs.top) if not top]
    assert_equal(without_top, nulls, "entries without top_logprobs", answer.at)
    assert_equal(nulls[:1], [0], "the first entry without a number", answer.at)
    assert_equal(len(nulls), 1 + count, "entries without a number", answer.at)
    names = {logprobs.tokens[i] for i in nulls[1:]}
    with_name = [i for i, name in enumerate(logprobs.tokens) if name in names]
    valid = len(names) == 1 and with_name == nulls[1:]
    assert_that(valid, "null at each placeholder token, and nowhere else", logprobs, answer.at)


@checks.consistency(Level.MUST, Evidence.EXACT, VISION, PROMPT_LOGPROBS, spec="output_text.echo")
def image_token_offsets(server: Server) -> None:
    """All tokens of an image have the `text_offset` of its placeholder; the next token begins where
    the placeholder ends.
    """
    answer = echoed_prompt(server, INTERLEAVED_PROMPT, mosaic_uri(0), mosaic_uri(1))
    offsets, per_image = answer.choice.logprobs.offsets, tokens_per_image(server)
    assert_equal(offsets, sorted(offsets), "text_offset", answer.at)
    first = INTERLEAVED_PROMPT.index(PLACEHOLDER)
    for start in first, INTERLEAVED_PROMPT.index(PLACEHOLDER, first + 1):
        assert_equal(offsets.count(start), per_image, f"entries at {start}", answer.at)
        after = [o for o in offsets if o > start][:1]
        assert_equal(after, [start + len(PLACEHOLDER)], "the offset after an image", answer.at)
    assert_equal(
        offsets[answer.prompt_tokens],
        len(INTERLEAVED_PROMPT),
        "the first offset of the output",
        answer.at,
    )


@checks.consistency(Level.MUST, Evidence.EXACT, VISION, LOGPROBS, spec="bundle.build_vocabulary")
def placeholder_not_sampled(server: Server) -> None:
    """The placeholder is not sampled, even if it is in the prompt and the repetition penalty raises
    its logit strongly.
    """
    sampling = REPEATING if is_accepted(server, "repetition_penalty", 0.01) else {"temperature": 2}
    for number in range(MAX_IMAGES_TRIED):
        fields = image_data(mosaic_uri(number)) | sampling
        choice = server.complete(prompt=PLACEHOLDER, max_tokens=4, logprobs=1, **fields).choice
        sampled = PLACEHOLDER in choice.text or PLACEHOLDER in choice.logprobs.tokens
        assert_that(not sampled, f"no {PLACEHOLDER}", choice.logprobs.tokens, choice.at)


@checks.truth(Level.MUST, Evidence.EXACT, VISION, spec="model.vision_config.VisionConfig")
def image_token_count(server: Server) -> None:
    """prompt_tokens counts as many tokens for an image as the model has embeddings for it."""
    for prompt in ONE_IMAGE_PROMPT, TWO_IMAGE_PROMPT, INTERLEAVED_PROMPT:
        images = image_data(*map(mosaic_uri, range(prompt.count(PLACEHOLDER))))
        ids, _ = server.oracle.expand_images(prompt, images["data"])
        answer = server.complete(prompt=prompt, max_tokens=1, **images)
        assert_equal(answer.prompt_tokens, len(ids), "prompt_tokens", answer.at)


@checks.truth(Level.MUST, Evidence.EXACT, VISION, PROMPT_LOGPROBS, spec="generate.prompt_logprobs")
def prompt_logprobs_after_images(server: Server) -> None:
    """In an echo, the log-probability of each text token is that of the model given the tokens and
    the images before it.
    """
    oracle, images = server.oracle, image_data(mosaic_uri(0), mosaic_uri(1))
    fields = {"max_tokens": 1, "logprobs": 3, "echo": True} | unique_token_names(server)
    answer = server.complete(prompt=INTERLEAVED_PROMPT, **fields, **images)
    logprobs = answer.choice.logprobs
    entries = oracle.prompt_logprobs(INTERLEAVED_PROMPT, oracle.model.vocab_size, **images)
    assert_equal(len(logprobs.tokens), len(entries) + 1, "entries", answer.at)
    expected = {i: dense_logprobs(entry) for i, entry in enumerate(entries) if entry}
    text_logprobs = entries_at(logprobs, expected)
    expanded, _ = oracle.expand_images(INTERLEAVED_PROMPT, images["data"])
    ids = [expanded[i] for i in expected]
    if wrong := first_mismatch(oracle, text_logprobs, ids, list(expected.values()), 3):
        raise Failed(*wrong, at=answer.at)


def entries_at(logprobs: Logprobs, positions: Collection[int]) -> Logprobs:
    """Return the entries at some positions."""
    lists = (logprobs.tokens, logprobs.values, logprobs.top, logprobs.offsets)
    columns: Iterable[list[Any]] = lists
    return Logprobs(*([column[i] for i in positions] for column in columns))


@checks.truth(Level.MUST, Evidence.EXACT, VISION, LOGPROBS, spec="bundle.build_vocabulary")
def argmax_placeholder_not_sampled(server: Server) -> None:
    """The placeholder is not sampled where it is the argmax of all tokens."""
    oracle, any_argmax = server.oracle, False
    for fields in (
        REPEATING | image_data(mosaic_uri(number)) for number in range(MAX_IMAGES_TRIED)
    ):
        ids, images = oracle.expand_images(PLACEHOLDER, fields["data"])
        placeholder = ids[images[0].start]
        if would_be_argmax(oracle.first_step(PLACEHOLDER, fields), placeholder):
            any_argmax = True
            choice, output = completion_with_ids(server, prompt=PLACEHOLDER, max_tokens=1, **fields)
            assert_that(
                placeholder not in output, f"no {PLACEHOLDER}", choice.logprobs.tokens, choice.at
            )
    if not any_argmax:
        raise Inconclusive("no tried image makes the placeholder the argmax")


def would_be_argmax(step: DecodeStep, token: int) -> bool:
    """Return whether a disallowed token would clearly be the argmax if it were allowed."""
    allowed = step.history.allowed.copy()
    allowed[token] = True
    scores = penalized_logits(step.logits, replace(step.history, allowed=allowed))
    return bool(scores[token] > np.delete(scores, token).max() + CLEAR_GAP)
