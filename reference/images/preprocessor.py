"""Image preprocessing: from an RGB image to the input of the vision encoder.

    resize the shorter side → center crop → × 1 / 255 → subtract the mean → divide by the std

The parameters are those of `preprocessor_config.json`, and the result is that of transformers'
CLIPImageProcessor with Pillow. Every backend uses this code on the host, because two resize
implementations differ by far more than rounding.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from reference.model.config_fields import ConfigError, as_flag, as_positive, as_size

Size = tuple[int, int]  # height and width

# Values of absent fields: CLIP's, as in transformers' CLIPImageProcessor.
DEFAULTS: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": 224,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
IMAGE_PROCESSOR_TYPES = (
    "LlavaImageProcessor",
    "LlavaImageProcessorFast",
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",
)


@dataclass(frozen=True, kw_only=True)
class Preprocessor:
    """The parameters of preprocessing.

    shortest_edge: new length of the shorter side, or size: new size; if both are None, no resizing.
    resample: number of a Pillow filter. crop: size of the center crop, where a smaller image is
    padded with black, or None. factor: scale of the pixel values, None for 1. mean, std: per
    channel, None for no normalization.
    """

    shortest_edge: int | None
    size: Size | None
    resample: int
    crop: Size | None
    factor: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @classmethod
    def load(cls, directory: str | Path) -> "Preprocessor":
        """Read the `image_processor` of a checkpoint directory's processor_config.json, else its
        preprocessor_config.json, as transformers does. Raises ConfigError, naming the file and the
        field.
        """
        directory = Path(directory)
        newer, older = directory / "processor_config.json", directory / "preprocessor_config.json"
        inner = _object(newer).get("image_processor") if newer.exists() else None
        path = older if inner is None else newer
        if not path.exists():
            raise ConfigError(f"{directory}: no preprocessor_config.json")
        fields = _object(older) if inner is None else inner
        try:
            if not isinstance(fields, Mapping):
                raise ConfigError("image_processor: not an object")
            return cls.from_json(fields)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "Preprocessor":
        """Read the fields of a preprocessor_config.json. Raises ConfigError, naming the field."""
        kind = json.get(
            "image_processor_type", json.get("feature_extractor_type", IMAGE_PROCESSOR_TYPES[0])
        )
        if kind not in IMAGE_PROCESSOR_TYPES:
            raise ConfigError(f"image_processor_type: {kind!r} is not supported, only CLIP's")
        for name in "do_pad", "use_square_size":
            if json.get(name):
                raise ConfigError(f"{name}: not supported")
        fields = DEFAULTS | {name: value for name, value in json.items() if value is not None}

        def is_enabled(name: str) -> bool:
            return as_flag(name, fields[name])

        edge, size = _size(fields["size"]) if is_enabled("do_resize") else (None, None)
        resample = fields["resample"]
        if isinstance(resample, bool) or resample not in list(Image.Resampling):
            raise ConfigError(f"resample: {resample!r} is not a Pillow filter")
        normalizes = is_enabled("do_normalize")
        return cls(
            shortest_edge=edge,
            size=size,
            resample=int(resample),
            crop=_sides("crop_size", fields["crop_size"]) if is_enabled("do_center_crop") else None,
            factor=(
                as_positive("rescale_factor", fields["rescale_factor"])
                if is_enabled("do_rescale")
                else None
            ),
            mean=_channels("image_mean", fields["image_mean"]) if normalizes else None,
            std=_channels("image_std", fields["image_std"], positive=True) if normalizes else None,
        )

    @property
    def output(self) -> Size | None:
        """Height and width of the output; None if they depend on the image."""
        return self.crop or self.size

    def pixels(self, image: Image.Image) -> Float32[np.ndarray, "3 height width"]:
        """Compute the input of the vision encoder from an RGB image."""
        height, width = self.resized(image.height, image.width)
        if (height, width) != (image.height, image.width):
            image = image.resize((width, height), Image.Resampling(self.resample))
        rgb = np.asarray(image, dtype=np.uint8)
        cropped = rgb if self.crop is None else center_crop(rgb, self.crop)
        scaled = cropped.astype(np.float32)
        if self.factor is not None:
            scaled = (cropped.astype(np.float64) * self.factor).astype(np.float32)
        if self.mean is not None and self.std is not None:
            mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
            scaled = (scaled - mean) / std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))

    def resized(self, height: int, width: int) -> Size:
        """Return the height and width after resizing. The longer side is rounded down."""
        if self.shortest_edge is None:
            return self.size or (height, width)
        shorter, longer = sorted((height, width))
        long = int(self.shortest_edge * longer / shorter)
        return (self.shortest_edge, long) if height <= width else (long, self.shortest_edge)


def center_crop(rgb: np.ndarray, crop: Size) -> np.ndarray:
    """Crop the center of an image, (height, width, 3). A smaller image is padded with black."""
    height, width = crop
    missing = [max(0, c - side) for c, side in zip(crop, rgb.shape, strict=False)]
    before = [-(-m // 2) for m in missing]
    padding = [(b, m - b) for b, m in zip(before, missing, strict=True)]
    padded = np.pad(rgb, [*padding, (0, 0)])
    top, left = (padded.shape[0] - height) // 2, (padded.shape[1] - width) // 2
    return padded[top : top + height, left : left + width]


def _object(path: Path) -> Mapping[str, Any]:
    """Read a file of one JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: not an object")
    return value


def _size(value: Any) -> tuple[int | None, Size | None]:
    """Read (shortest edge, size), one of which is None. A number is the shortest edge."""
    if isinstance(value, Mapping) and "shortest_edge" in value:
        if value.get("longest_edge") is not None:
            raise ConfigError("size: longest_edge is not supported")
        return as_size("size.shortest_edge", value["shortest_edge"]), None
    if isinstance(value, Mapping):
        return None, _sides("size", value)
    return as_size("size", value), None


def _sides(name: str, value: Any) -> Size:
    """Read a height and a width. A number is both."""
    if isinstance(value, Mapping):
        height, width = (as_size(f"{name}.{side}", value.get(side)) for side in ("height", "width"))
        return height, width
    return as_size(name, value), as_size(name, value)


def _channels(name: str, value: Any, positive: bool = False) -> tuple[float, ...]:
    """Read a number for each channel, or one for all."""
    values = value if isinstance(value, list) else [value] * 3
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    finite = np.isfinite(numbers).all()
    if len(numbers) != 3 or len(values) != 3 or not finite:
        raise ConfigError(f"{name}: {value!r} is not three numbers")
    if positive and not min(numbers) > 1e-6:
        raise ConfigError(f"{name}: {value!r} is not positive")
    return tuple(map(float, numbers))
