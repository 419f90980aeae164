"""Image tokens in a prompt.

The text of a prompt has one placeholder token per image. `expand_placeholders` repeats each
placeholder once for every image token, and records its span. At these positions the image's
embeddings replace the embedding of the placeholder's id.

Only a vision-language model imports Pillow, when it is loaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference.images.limits import ImageError, ImageLimits
from reference.model.config_fields import ConfigError
from reference.model.vision_config import VisionConfig
from reference.request import Image, ImageSpan
from reference.stopping import token_budget
from reference.tokenizer.protocol import Tokenizer

if TYPE_CHECKING:
    from reference.images.preprocessor import Preprocessor


class ImagesUnsupported(ValueError):
    """Images for a text-only model."""


class ImageCountMismatch(ValueError):
    """The number of images differs from the number of placeholders."""


class TooManyImages(ValueError):
    """More images than one request may have."""


@dataclass(frozen=True, kw_only=True)
class ImageProcessor:
    """Decodes and preprocesses the images for one model. image_token_id: the placeholder."""

    preprocessor: "Preprocessor"
    image_token_id: int
    tokens_per_image: int
    limits: ImageLimits = field(default_factory=ImageLimits)

    def process(self, uri: str) -> Image:
        """Decode and preprocess one image. Raises ImageError."""
        from reference.images.decoding import decode_image

        image = decode_image(uri, self.limits)
        height, width = self.preprocessor.resized(image.height, image.width)
        if height * width > self.limits.pixels:
            raise ImageError(
                f"{image.width} × {image.height} pixels are too long or too wide: "
                f"they would be resized to {width} × {height}"
            )
        return Image.of(self.preprocessor.pixels(image))


def load_image_processor(
    directory: str | Path,
    config: VisionConfig | None,
    tokenizer: Tokenizer,
    limits: ImageLimits | None = None,
) -> ImageProcessor | None:
    """Load the image processor of a checkpoint directory; None for a text-only model. Raises
    ConfigError if the preprocessor does not fit the vision encoder, if no text encodes to the
    placeholder, or if Pillow is not installed.
    """
    if config is None:
        return None
    token = config.image_token_id
    name = tokenizer.token_bytes(token).decode() if token < tokenizer.vocab_size else ""
    if token not in tokenizer.encode(name):
        raise ConfigError(
            f"{directory}: image_token_index: {token} is not a token of the tokenizer; `<image>` "
            "should be in tokenizer.json or in the added_tokens_decoder of tokenizer_config.json"
        )
    try:
        from reference.images.preprocessor import Preprocessor
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{directory}: images need Pillow (install the extra 'images'): {error}"
        ) from None
    preprocessor = Preprocessor.load(directory)
    if preprocessor.output != (config.image_size, config.image_size):
        raise ConfigError(
            f"{directory}: the preprocessor's output size is {preprocessor.output}, but the "
            f"vision encoder's image_size is {config.image_size}"
        )
    return ImageProcessor(
        preprocessor=preprocessor,
        image_token_id=config.image_token_id,
        tokens_per_image=config.tokens_per_image,
        limits=limits or ImageLimits(),
    )


def expand_placeholders(
    prompts: Sequence[Sequence[int]],
    data: Mapping[str, Any] | None,
    image_processor: ImageProcessor | None,
    context: int,
) -> list[tuple[list[int], tuple[ImageSpan, ...]]]:
    """Return the token ids and the image spans of each prompt.

    Meaning:   the images of `data` take the placeholders in order, prompt after prompt.
    Boundary:  the number of images must equal the number of placeholders; both may be 0. An image
               counts with all its tokens, in the context length and in `usage`.
    Off value: null or no images.
    Example:   token 9 is the placeholder, and an image takes three tokens.
               >>> from reference.images.preprocessor import Preprocessor
               >>> image_processor = ImageProcessor(
               ...     preprocessor=Preprocessor.from_json({"size": 1, "crop_size": 1}),
               ...     image_token_id=9,
               ...     tokens_per_image=3,
               ... )
               >>> gif = "R0lGODdhAQABAPAAAP///wAAACwAAAAAAQABAAACAkQBADs="  # one pixel
               >>> data = {"image": ["data:image/gif;base64," + gif]}
               >>> [(ids, [span])] = expand_placeholders([[5, 9, 6]], data, image_processor, 8)
               >>> ids, span.start, span.stop
               ([5, 9, 9, 9, 6], 1, 4)

    Raises ImagesUnsupported, ImageCountMismatch, TooManyImages, ContextLengthExceeded, or
    ImageError with the index of the image.
    """
    uris = image_uris(data)
    if image_processor is None:
        reject_images(data)
        return [(list(ids), ()) for ids in prompts]
    counts = [list(ids).count(image_processor.image_token_id) for ids in prompts]
    max_images = image_processor.limits.images
    if len(uris) > max_images:
        raise TooManyImages(
            f"data.image: {len(uris)} images are more than the maximum of {max_images}"
        )
    if len(uris) != sum(counts):
        raise ImageCountMismatch(
            f"data.image: got {count_of(len(uris), 'image')}, and the prompt has "
            f"{count_of(sum(counts), 'placeholder')}"
        )
    # Check the length of every prompt before any image is decoded.
    for ids, count in zip(prompts, counts, strict=True):
        token_budget(None, context, len(ids) + count * (image_processor.tokens_per_image - 1))
    images = iter([process_image(image_processor, uris, i) for i in range(len(uris))])
    return [expand_prompt(ids, images, image_processor) for ids in prompts]


def image_uris(data: Mapping[str, Any] | None) -> Sequence[str]:
    """Return the `data:` URIs of a request's images."""
    return (data or {}).get("image") or ()


def reject_images(data: Mapping[str, Any] | None) -> None:
    """Raise ImagesUnsupported if there are any images."""
    if image_uris(data):
        raise ImagesUnsupported("data.image: this model is text-only")


def count_of(count: int, noun: str) -> str:
    """Format a count with its noun: `1 image`, `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def process_image(image_processor: ImageProcessor, uris: Sequence[str], i: int) -> Image:
    """Process the i-th image. Raises ImageError with its index."""
    try:
        return image_processor.process(uris[i])
    except ImageError as error:
        raise ImageError(f"data.image[{i}]: {error}") from None


def expand_prompt(
    ids: Sequence[int], images: Iterator[Image], image_processor: ImageProcessor
) -> tuple[list[int], tuple[ImageSpan, ...]]:
    """Repeat each placeholder of one prompt, and assign the next images to the spans."""
    expanded: list[int] = []
    spans: list[ImageSpan] = []
    for token in ids:
        if token == image_processor.image_token_id:
            start = len(expanded)
            stop = start + image_processor.tokens_per_image
            spans.append(ImageSpan(next(images), start, stop))
            expanded += [token] * image_processor.tokens_per_image
        else:
            expanded.append(token)
    return expanded, tuple(spans)
