"""Assignment of images to the placeholders of one or several prompts."""

import itertools
from typing import Any

from conformance.assertions.basic import assert_equal, assert_same_completion, assert_that
from conformance.assertions.images import (
    INTERLEAVED_PROMPT,
    ONE_IMAGE_PROMPT,
    TWO_IMAGE_PROMPT,
    assert_images_distinguished,
    image_data,
    logprobs_between_images,
    max_difference,
)
from conformance.assertions.logprobs import REPEAT_TOLERANCE, assert_reference_logprobs
from conformance.assertions.streaming import assert_stream_equals_response
from conformance.fixtures.images import PLACEHOLDER, mosaic_uri
from conformance.harness.capabilities import (
    LOGPROBS,
    PROMPT_IDS,
    PROMPT_LISTS,
    PROMPT_LOGPROBS,
    STREAM,
    TOKEN_IDS,
    VISION,
    has,
    unique_token_names,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import PROMPT, Server
from conformance.http.response import TOKEN_ID
from conformance.verdicts import Evidence, Inconclusive, Level

checks = CheckGroup("data", spec="images.placement.expand_placeholders")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION, LOGPROBS)
def distinct_images_differ(server: Server) -> None:
    """The log-probabilities depend on the content of an image."""
    for image, other_image in itertools.combinations(map(mosaic_uri, range(3)), 2):
        assert_images_distinguished(server, [image], [other_image], ONE_IMAGE_PROMPT)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION, LOGPROBS)
def every_image_used(server: Server) -> None:
    """The log-probabilities depend on each of two images, and on their order."""
    first, second = mosaic_uri(0), mosaic_uri(1)
    for changed in [first, first], [second, second], [second, first]:
        assert_images_distinguished(server, [first, second], changed, TWO_IMAGE_PROMPT)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION, PROMPT_LOGPROBS)
def placeholder_order(server: Server) -> None:
    """The first image is at the first placeholder: the text before the second placeholder depends
    on the first image only.
    """
    first, second = mosaic_uri(0), mosaic_uri(1)
    after_first, after_second = (
        logprobs_between_images(server, first, first),
        logprobs_between_images(server, second, second),
    )
    if max_difference(after_first, after_second) <= REPEAT_TOLERANCE:
        raise Inconclusive("the text between two images does not depend on the first")
    for images, expected in ([first, second], after_first), ([second, first], after_second):
        distance = max_difference(logprobs_between_images(server, *images), expected)
        assert_that(
            distance <= REPEAT_TOLERANCE,
            f"within {REPEAT_TOLERANCE} of the values that do not depend on the second image",
            f"{distance:.4f} apart",
            server.last,
        )


@checks.consistency(
    Level.MUST, Evidence.METAMORPHIC, VISION, PROMPT_IDS, PROMPT_LOGPROBS, TOKEN_IDS
)
def images_in_id_prompt(server: Server) -> None:
    """In a list of token ids, too, the placeholder's id is sent once for each image."""
    images = image_data(mosaic_uri(0), mosaic_uri(1))
    answer = server.complete(
        prompt=INTERLEAVED_PROMPT, echo=True, logprobs=1, return_tokens_as_token_ids=True, **images
    )
    logprobs, ids = answer.choice.logprobs, []
    for i, name in enumerate(logprobs.tokens[: answer.prompt_tokens]):
        match = TOKEN_ID.fullmatch(name)
        assert_that(bool(match), "token_id:…", name, answer.at)
        # Keep the first token of each image only.
        repeated = logprobs.values[i] is None and logprobs.tokens[:i][-1:] == [name]
        ids += [int(match[1])] if match and not repeated else []
    from_text, from_ids = (
        server.complete(prompt=prompt, **images) for prompt in (INTERLEAVED_PROMPT, ids)
    )
    assert_same_completion(from_text, from_ids, "the answer to the text")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, VISION, PROMPT_LISTS, LOGPROBS)
def images_per_list_prompt(server: Server) -> None:
    """In a list of prompts, each prompt takes as many of the images as it has placeholders, in
    order, and is answered like a request with this prompt only.
    """
    prompts, images = (
        [ONE_IMAGE_PROMPT, PROMPT, TWO_IMAGE_PROMPT],
        [mosaic_uri(0), mosaic_uri(1), mosaic_uri(2)],
    )
    fields = {"max_tokens": 1, "logprobs": 5} | unique_token_names(server)
    answer = server.complete(prompt=prompts, **image_data(*images), **fields)
    assert_equal(len(answer.choices), len(prompts), "choices", answer.at)
    remaining = iter(images)
    for prompt, choice in zip(prompts, answer.choices, strict=True):
        prompt_images = list(itertools.islice(remaining, prompt.count(PLACEHOLDER)))
        single = server.complete(prompt=prompt, **image_data(*prompt_images), **fields)
        expected, actual = (c.logprobs.top[0] or {} for c in (single.choice, choice))
        what = f"for {prompt!r} the answer to this prompt only"
        seen = f"{actual}, and alone {expected}"
        assert_that(max_difference(expected, actual) <= REPEAT_TOLERANCE, what, seen, answer.at)


@checks.consistency(
    Level.MUST, Evidence.METAMORPHIC, VISION, STREAM, spec="output_text.StreamedChoice"
)
def stream_equals_non_streamed(server: Server) -> None:
    """The joined parts of a stream after a prompt with images are the answer without a stream."""
    requests: list[dict[str, Any]] = [{"prompt": ONE_IMAGE_PROMPT} | image_data(mosaic_uri(1))]
    requests += [{"prompt": TWO_IMAGE_PROMPT} | image_data(mosaic_uri(1), mosaic_uri(2))]
    for fields in requests:
        assert_stream_equals_response(server, **fields)
        if has(server, PROMPT_LOGPROBS):
            assert_stream_equals_response(server, echo=True, logprobs=2, **fields)


@checks.truth(Level.MUST, Evidence.EXACT, VISION, LOGPROBS)
def multiple_images_match_model(server: Server) -> None:
    """After several images, within text or next to each other, the log-probabilities are those of
    the model.
    """
    for prompt in TWO_IMAGE_PROMPT, INTERLEAVED_PROMPT, PLACEHOLDER * 3:
        images = image_data(*map(mosaic_uri, range(prompt.count(PLACEHOLDER))))
        assert_reference_logprobs(server, 5, prompt=prompt, temperature=0, **images)
