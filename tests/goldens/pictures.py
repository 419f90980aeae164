"""Small pictures in many formats, and the pixels that transformers makes of them.

`pictures/` holds the pictures, and `configs.json`: preprocessor configs by name. `pictures.npz`
holds, for `<config>/<picture>`, the pixels (3, H, W) float32 of `CLIPImageProcessorPil`, which is
the image processor that works with Pillow and NumPy, given what `load_image` makes of the file.
"""

import json
import shutil
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import CLIPImageProcessorPil
from transformers.image_utils import load_image

ORIENTATION = 0x0112
COLOURS = 16


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One file. size: width and height. mode: Pillow's name for what a pixel is. clear: which
    colours are transparent: that of the top left corner, or in a palette all, more or less.
    turn: the EXIF orientation. save: what Pillow is told when it writes the file.
    """

    size: tuple[int, int] = (23, 17)
    mode: str = "RGB"
    clear: str | None = None
    turn: int | None = None
    frames: int = 1
    save: Mapping[str, Any] = field(default_factory=dict)


PICTURES = {
    "rgb.png": Picture(size=(37, 53)),
    "wide.png": Picture(size=(101, 20)),
    "exact.png": Picture(size=(20, 20)),
    "dot.png": Picture(size=(1, 1)),
    "column.png": Picture(size=(1, 200)),
    "row.png": Picture(size=(200, 1)),
    "rgb_clear.png": Picture(clear="corner"),
    "rgba.png": Picture(mode="RGBA"),
    "palette.png": Picture(mode="P"),
    "palette_clear.png": Picture(mode="P", clear="corner"),
    "palette_alphas.png": Picture(mode="P", clear="all"),
    "bits.png": Picture(mode="1"),
    "grey.png": Picture(mode="L"),
    "grey_clear.png": Picture(mode="L", clear="corner"),
    "grey_alpha.png": Picture(mode="LA"),
    "grey16.png": Picture(mode="I;16"),
    "turned_6.png": Picture(turn=6),
    "rgb.jpg": Picture(size=(53, 37), save={"quality": 85}),
    "grey.jpg": Picture(mode="L"),
    "cmyk.jpg": Picture(mode="CMYK"),
    "progressive.jpg": Picture(save={"progressive": True}),
    **{f"turned_{turn}.jpg": Picture(turn=turn) for turn in range(2, 9)},
    "lossy.webp": Picture(save={"quality": 60}),
    "rgba.webp": Picture(mode="RGBA", save={"lossless": True}),
    "frames.webp": Picture(frames=2, save={"lossless": True}),
    "frames.gif": Picture(mode="P", clear="corner", frames=2),
}

CLIP = {
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
}


def llava(edge: int, crop: tuple[int, int] | None = None, **changes: Any) -> dict[str, Any]:
    """A config like that of LLaVA-1.5. crop: height and width."""
    height, width = crop or (edge, edge)
    return CLIP | {
        "crop_size": {"height": height, "width": width},
        "do_convert_rgb": True,
        "do_rescale": True,
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": edge},
        **changes,
    }


CONFIGS = {
    "llava": llava(20),
    "legacy": CLIP
    | {
        "crop_size": 15,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_processor_type": "CLIPImageProcessor",
        "size": 18,
    },
    "padded": llava(14, (19, 24)),
    "padded_high": llava(14, (23, 11)),
    "bilinear": llava(16, resample=2),
    "lanczos": llava(17, resample=1),
    "unnormalized": llava(14, do_normalize=False),
    "stretched": llava(14, do_center_crop=False, size={"height": 18, "width": 14}),
}
SOME = ("rgb.png", "wide.png", "dot.png", "grey_alpha.png", "rgb.jpg", "turned_5.jpg", "rgba.webp")


def make(directory: Path) -> None:
    folder = directory / "pictures"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, picture in PICTURES.items():
        write(folder / name, picture)
    (folder / "configs.json").write_text(json.dumps(CONFIGS, indent=2, sort_keys=True) + "\n")
    pixels = {
        f"{name}/{picture}": preprocess(config, folder / picture)
        for name, config in CONFIGS.items()
        for picture in (PICTURES if name == "llava" else SOME)
    }
    np.savez_compressed(directory / "pictures.npz", **pixels)
    size = sum(path.stat().st_size for path in [*folder.iterdir(), directory / "pictures.npz"])
    print(f"{'pictures':12} {size / 1000:6.1f} kB, {len(pixels)} cases")


def preprocess(config: Mapping[str, Any], path: Path) -> np.ndarray:
    """(3, H, W) float32"""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Palette images with Transparency")
        image = load_image(str(path))
    processor = CLIPImageProcessorPil.from_dict(dict(config))
    pixels = processor(image, return_tensors="np").pixel_values[0]
    assert pixels.dtype == np.float32 and pixels.shape[0] == 3
    return pixels


def write(path: Path, picture: Picture) -> None:
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    first, *others = [paint(rng, picture) for _ in range(picture.frames)]
    options = dict(picture.save)
    if picture.clear:
        alphas = rng.integers(0, 256, COLOURS).astype(np.uint8).tobytes()
        options["transparency"] = first.getpixel((0, 0)) if picture.clear == "corner" else alphas
    if picture.turn:
        exif = Image.Exif()
        exif[ORIENTATION] = picture.turn
        options["exif"] = exif
    if others:
        options |= {"save_all": True, "append_images": others, "duration": 100}
    first.save(path, **options)


def paint(rng: np.random.Generator, picture: Picture) -> Image.Image:
    bands = [Image.fromarray(draw(rng, *picture.size)) for _ in range(4)]
    match picture.mode:
        case "CMYK" | "RGBA":
            return Image.merge(picture.mode, bands)
        case "LA":
            return Image.merge("LA", bands[:2])
        case "I;16":
            return Image.fromarray(draw(rng, *picture.size).astype(np.uint16) * 3)
    image = Image.merge("RGB", bands[:3])
    if picture.mode == "P":
        return image.quantize(COLOURS, dither=Image.Dither.NONE)
    return image.convert(picture.mode)


def draw(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A wave, a flat patch at the top left and another one elsewhere: (height, width) uint8"""
    rows, columns = np.mgrid[:height, :width]
    turns = rng.uniform(0.1, 0.6, 2)
    values = 128 + 127 * np.sin(turns[0] * rows + turns[1] * columns + rng.uniform(0, 6))
    values[: height // 3 + 1, : width // 4 + 1] = rng.integers(0, 256)
    top, left = rng.integers(height), rng.integers(width)
    values[top : top + height // 4, left : left + width // 3] = rng.integers(0, 256)
    return values.astype(np.uint8)
