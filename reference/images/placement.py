"""Images in a prompt: where each one stands, and what of it the model reads.

A prompt has a placeholder, one token, for each image. Read by the model, a placeholder is as many
places as an image has rows, all of them with the placeholder's id, and the rows of the image stand
there instead of the id's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reference.images import decoding
from reference.images.decoding import ImageError, ImageLimits
from reference.images.preprocessor import Preprocessor
from reference.model.config_fields import ConfigError
from reference.model.vision_config import VisionConfig
from reference.request import Image, ImageSpan
from reference.stopping import token_budget
from reference.tokenizer.protocol import Tokenizer


class ImagesUnsupported(ValueError):
    """Images for a model that reads text only."""


class ImageCountMismatch(ValueError):
    """More or fewer images than placeholders."""


class TooManyImages(ValueError):
    """More than may be sent together."""


@dataclass(frozen=True, kw_only=True)
class ImageProcessor:
    """How a model takes pictures in. token: the placeholder; rows: the places of one image."""

    preprocessor: Preprocessor
    token: int
    rows: int
    limits: ImageLimits = field(default_factory=ImageLimits)

    def image(self, uri: str) -> Image:
        """Raises ImageError."""
        picture = decoding.decode_image(uri, self.limits)
        height, width = self.preprocessor.resized(picture.height, picture.width)
        if height * width > self.limits.pixels:
            raise ImageError(
                f"{picture.width} × {picture.height} pixels are too long or too wide: the model "
                f"would read {width} × {height}"
            )
        return Image.of(self.preprocessor.pixels(picture))


def load_image_processor(
    directory: str | Path,
    config: VisionConfig | None,
    tokenizer: Tokenizer,
    limits: ImageLimits | None = None,
) -> ImageProcessor | None:
    """How the model of a checkpoint directory sees; None if it reads text only. Raises ConfigError
    if its pictures are not prepared for its tower, or if no text leads to its placeholder.
    """
    if config is None:
        return None
    token = config.image_token_id
    name = tokenizer.piece(token).decode() if token < tokenizer.vocab_size else ""
    if token not in tokenizer.encode(name):
        raise ConfigError(
            f"{directory}: image_token_index: {token} is no token of the tokenizer, as `<image>` "
            "should be in tokenizer.json or in the added_tokens_decoder of tokenizer_config.json"
        )
    preprocessor = Preprocessor.load(directory)
    if preprocessor.output != (config.image_size, config.image_size):
        raise ConfigError(
            f"{directory}: preprocessor_config.json prepares pictures of {preprocessor.output}, "
            f"and the tower reads {config.image_size}"
        )
    return ImageProcessor(
        preprocessor=preprocessor,
        token=config.image_token_id,
        rows=config.rows,
        limits=limits or ImageLimits(),
    )


def expand_placeholders(
    prompts: Sequence[Sequence[int]],
    data: Mapping[str, Any] | None,
    sight: ImageProcessor | None,
    context: int,
) -> list[tuple[list[int], tuple[ImageSpan, ...]]]:
    """Each prompt as the model reads it, with its images.

    Meaning:   the images of `data` take the placeholders in order, prompt after prompt.
    Boundary:  as many images as placeholders, or the request is refused; none of either is fine.
               An image counts as the tokens that it takes, in the context and in `usage`.
    Off value: null or no images.

    Raises TextOnly, ImageCount, TooManyImages, ContextLengthExceeded, or ImageError, which says
    which image it is.
    """
    uris = image_uris(data)
    if sight is None:
        reject_images(data)
        return [(list(ids), ()) for ids in prompts]
    counts = [list(ids).count(sight.token) for ids in prompts]
    places = sum(counts)
    if len(uris) > sight.limits.images:
        raise TooManyImages(
            f"data.image: {len(uris)} images are more than the {sight.limits.images} that are taken"
        )
    if len(uris) != places:
        raise ImageCountMismatch(
            f"data.image: {counted(len(uris), 'image')}, and the prompt has "
            f"{counted(places, 'placeholder')} for one"
        )
    for ids, count in zip(prompts, counts, strict=True):
        token_budget(None, context, len(ids) + count * (sight.rows - 1))
    images = iter([look(sight, uris, i) for i in range(len(uris))])
    return [expand(ids, images, sight) for ids in prompts]


def image_uris(data: Mapping[str, Any] | None) -> Sequence[str]:
    return (data or {}).get("image") or ()


def reject_images(data: Mapping[str, Any] | None) -> None:
    """For a model that reads text only. Raises TextOnly if there are any."""
    if image_uris(data):
        raise ImagesUnsupported("This model reads text only, no images")


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def look(sight: ImageProcessor, uris: Sequence[str], i: int) -> Image:
    try:
        return sight.image(uris[i])
    except ImageError as error:
        raise ImageError(f"data.image[{i}]: {error}") from None


def expand(
    ids: Sequence[int], images: Iterator[Image], sight: ImageProcessor
) -> tuple[list[int], tuple[ImageSpan, ...]]:
    """A prompt with each placeholder repeated, and the next images in their places."""
    expanded: list[int] = []
    placed: list[ImageSpan] = []
    for token in ids:
        if token == sight.token:
            start = len(expanded)
            placed.append(ImageSpan(next(images), start, start + sight.rows))
        expanded += [token] * (sight.rows if token == sight.token else 1)
    return expanded, tuple(placed)
