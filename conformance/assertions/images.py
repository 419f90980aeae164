"""Log-probabilities of prompts with images."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.assertions.basic import assert_that
from conformance.assertions.logprobs import REPEAT_TOLERANCE
from conformance.assertions.next_token import NextTokenDistribution, next_token_distribution
from conformance.fixtures.images import PLACEHOLDER, mosaic_uri
from conformance.harness.once import once_per_run
from conformance.http.client import Server
from conformance.http.response import Completion, Json
from conformance.verdicts import Inconclusive

ONE_IMAGE_PROMPT = f"{PLACEHOLDER}\nThe picture shows a"
TWO_IMAGE_PROMPT = f"{PLACEHOLDER} and {PLACEHOLDER}\nThe second picture shows a"
INTERLEAVED_PROMPT = f"Here: {PLACEHOLDER} is the first, {PLACEHOLDER} the second."
ROUNDING = 1e-6  # of a log-probability: a smaller difference does not count


def image_data(*images: str) -> dict[str, Json]:
    """Return the request field that carries images."""
    return {"data": {"image": list(images)}}


@once_per_run
def tokens_per_image(server: Server) -> int:
    """Return the number of prompt tokens that each image adds."""
    first, second = mosaic_uri(0), mosaic_uri(1)
    one = server.complete(prompt=ONE_IMAGE_PROMPT, max_tokens=1, **image_data(first))
    two = server.complete(
        prompt=PLACEHOLDER + ONE_IMAGE_PROMPT, max_tokens=1, **image_data(first, second)
    )
    return two.prompt_tokens - one.prompt_tokens


def echoed_prompt(server: Server, prompt: str, *images: str) -> Completion:
    """Return a completion that echoes a prompt with images, with its logprobs."""
    fields = {"max_tokens": 2, "echo": True, "logprobs": 1}
    return server.complete(prompt=prompt, **fields, **image_data(*images))


def image_distribution(
    server: Server, *images: str, prompt: str = ONE_IMAGE_PROMPT, **fields: Any
) -> NextTokenDistribution:
    """Return the distribution of the token after a prompt with images."""
    return next_token_distribution(server, prompt, **image_data(*images), **fields)


def max_difference(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Return the largest difference of two lists of log-probabilities.

    A token that only one list has is, in the other, at most as likely as the last entry: this gives
    a lower bound of its difference.
    """
    common = [abs(value - second[name]) for name, value in first.items() if name in second]
    one_sided = [
        value - min(b.values())
        for a, b in ((first, second), (second, first))
        for name, value in a.items()
        if name not in b
    ]
    return max([0.0, *common, *one_sided])


def assert_close(first: NextTokenDistribution, second: NextTokenDistribution, what: str) -> None:
    """Require log-probabilities within the tolerance of repeated requests."""
    difference = max_difference(first.values, second.values)
    expected = f"log-probabilities within {REPEAT_TOLERANCE} {what}"
    assert_that(difference <= REPEAT_TOLERANCE, expected, f"{difference:.4f} apart", second.at)


def assert_equivalent_images(server: Server, images: Mapping[str, str], reference: str) -> None:
    """Require equal log-probabilities for files that decode to the pixels of `reference`."""
    expected = image_distribution(server, reference)
    for name, image in images.items():
        assert_close(expected, image_distribution(server, image), f"for the same image as {name}")


def assert_images_distinguished(
    server: Server, first: Sequence[str], second: Sequence[str], prompt: str
) -> None:
    """Require different log-probabilities for different images.

    Raises Inconclusive if the difference is above the noise of a repeated request but too small to
    be sure.
    """
    a, b, repeated = (
        image_distribution(server, *images, prompt=prompt) for images in (first, second, first)
    )
    difference = max_difference(a.values, b.values)
    noise = max_difference(a.values, repeated.values)
    if difference > REPEAT_TOLERANCE + noise:
        return
    seen = f"{difference:.2e} apart"
    expected = "other log-probabilities with other images"
    assert_that(difference > 4 * noise + ROUNDING, expected, seen, b.at)
    raise Inconclusive(f"two images lead to log-probabilities {seen}", at=b.at)


def logprobs_between_images(server: Server, *images: str) -> dict[str, float]:
    """Return the log-probabilities of the text between two images, by position and token string."""
    completion = echoed_prompt(server, INTERLEAVED_PROMPT, *images)
    columns, start = completion.choice.logprobs, INTERLEAVED_PROMPT.index(PLACEHOLDER)
    inside = range(start + 1, INTERLEAVED_PROMPT.index(PLACEHOLDER, start + 1))
    values = {
        f"{i} {name}": value
        for i, (name, value, offset) in enumerate(
            zip(columns.tokens, columns.values, columns.offsets, strict=True)
        )
        if offset in inside and value is not None
    }
    expected = "log-probabilities of the text between two images"
    assert_that(len(values) > 1, expected, columns, completion.at)
    return values
