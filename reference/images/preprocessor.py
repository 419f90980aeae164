"""From a picture to what the vision tower reads, as `preprocessor_config.json` says.

    shorter side to a size → centre crop → / 255 → less the mean, over the standard deviation

What transformers' CLIPImageProcessor does with Pillow, on the host for every backend: two ways to
resize differ by more than two ways to add up.
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

# What an absent field means: CLIP's own numbers, as transformers' CLIPImageProcessor has them.
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
KINDS = (
    "LlavaImageProcessor",
    "LlavaImageProcessorFast",
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",
)


@dataclass(frozen=True, kw_only=True)
class Preprocessor:
    """shortest_edge: what the shorter side becomes, or size: what both sides do; neither: a picture
    keeps its size. resample: Pillow's number of a filter. crop: what is cut out of the middle, with
    black around a smaller picture; None: nothing. factor: None for 1. mean, std: of each colour,
    None: nothing is taken away.
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
        """Read the `image_processor` of a checkpoint directory's processor_config.json, or else its
        preprocessor_config.json: in the order of transformers. Raises ConfigError, naming the file
        and the field.
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
        """Raises ConfigError, naming the field."""
        kind = json.get("image_processor_type", json.get("feature_extractor_type", KINDS[0]))
        if kind not in KINDS:
            raise ConfigError(f"image_processor_type: {kind!r} is not supported, only CLIP's")
        for name in "do_pad", "use_square_size":
            if json.get(name):
                raise ConfigError(f"{name}: not supported")
        fields = DEFAULTS | {name: value for name, value in json.items() if value is not None}

        def does(name: str) -> bool:
            return as_flag(name, fields[name])

        edge, size = _size(fields["size"]) if does("do_resize") else (None, None)
        resample = fields["resample"]
        if isinstance(resample, bool) or resample not in list(Image.Resampling):
            raise ConfigError(f"resample: {resample!r} is no filter of Pillow")
        normalizes = does("do_normalize")
        return cls(
            shortest_edge=edge,
            size=size,
            resample=int(resample),
            crop=_sides("crop_size", fields["crop_size"]) if does("do_center_crop") else None,
            factor=(
                as_positive("rescale_factor", fields["rescale_factor"])
                if does("do_rescale")
                else None
            ),
            mean=_colours("image_mean", fields["image_mean"]) if normalizes else None,
            std=_colours("image_std", fields["image_std"], positive=True) if normalizes else None,
        )

    @property
    def output(self) -> Size | None:
        """Height and width of what comes out; None if it depends on the picture."""
        return self.crop or self.size

    def pixels(self, picture: Image.Image) -> Float32[np.ndarray, "3 height width"]:
        """What the tower reads of a picture in RGB."""
        height, width = self.resized(picture.height, picture.width)
        if (height, width) != (picture.height, picture.width):
            picture = picture.resize((width, height), Image.Resampling(self.resample))
        whole = np.asarray(picture, dtype=np.uint8)
        cut = whole if self.crop is None else cropped(whole, self.crop)
        scaled = cut.astype(np.float32)
        if self.factor is not None:
            scaled = (cut.astype(np.float64) * self.factor).astype(np.float32)
        if self.mean is not None and self.std is not None:
            mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
            scaled = (scaled - mean) / std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))

    def resized(self, height: int, width: int) -> Size:
        """What the sides of a picture become: the longer one is rounded down."""
        if self.shortest_edge is None:
            return self.size or (height, width)
        shorter, longer = sorted((height, width))
        long = int(self.shortest_edge * longer / shorter)
        return (self.shortest_edge, long) if height <= width else (long, self.shortest_edge)


def cropped(whole: np.ndarray, crop: Size) -> np.ndarray:
    """The middle of a picture, (height, width, 3), with black around one that is smaller."""
    height, width = crop
    room = [max(0, c - side) for c, side in zip(crop, whole.shape, strict=False)]
    before = [-(-r // 2) for r in room]
    padding = [(b, r - b) for b, r in zip(before, room, strict=True)]
    padded = np.pad(whole, [*padding, (0, 0)])
    top, left = (padded.shape[0] - height) // 2, (padded.shape[1] - width) // 2
    return padded[top : top + height, left : left + width]


def _object(path: Path) -> Mapping[str, Any]:
    """A file that holds one JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: not an object")
    return value


def _size(value: Any) -> tuple[int | None, Size | None]:
    """The shortest edge, or both sides. Older files give a number: the shortest edge."""
    if isinstance(value, Mapping) and "shortest_edge" in value:
        if value.get("longest_edge") is not None:
            raise ConfigError("size: longest_edge is not supported")
        return as_size("size.shortest_edge", value["shortest_edge"]), None
    if isinstance(value, Mapping):
        return None, _sides("size", value)
    return as_size("size", value), None


def _sides(name: str, value: Any) -> Size:
    if isinstance(value, Mapping):
        height, width = (as_size(f"{name}.{side}", value.get(side)) for side in ("height", "width"))
        return height, width
    return as_size(name, value), as_size(name, value)


def _colours(name: str, value: Any, positive: bool = False) -> tuple[float, ...]:
    """A number for each colour, or one for all."""
    values = value if isinstance(value, list) else [value] * 3
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    finite = np.isfinite(numbers).all()
    if len(numbers) != 3 or len(values) != 3 or not finite:
        raise ConfigError(f"{name}: {value!r} is not three numbers")
    if positive and not min(numbers) > 1e-6:
        raise ConfigError(f"{name}: {value!r} is not positive")
    return tuple(map(float, numbers))
