"""Small image files in many formats, and their pixels after transformers' preprocessing.

`pictures/` has the image files, and `configs.json`: preprocessor configs by name. `pictures.npz`
has, for `<config>/<file>`, the pixels (3, H, W) float32 of `load_image` and
`CLIPImageProcessorPil`, the image processor that uses Pillow and NumPy.
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

EXIF_ORIENTATION = 0x0112
NUM_COLORS = 16


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One file. size: width and height. mode: Pillow's pixel format. transparent: "corner" for the
    color of the top left corner, "all" for an alpha per palette entry. orientation: the EXIF
    orientation. save: options for Pillow's `save`.
    """

    size: tuple[int, int] = (23, 17)
    mode: str = "RGB"
    transparent: str | None = None
    orientation: int | None = None
    frames: int = 1
    save: Mapping[str, Any] = field(default_factory=dict)


IMAGE_FILES = {
    "rgb.png": ImageFile(size=(37, 53)),
    "wide.png": ImageFile(size=(101, 20)),
    "exact.png": ImageFile(size=(20, 20)),
    "dot.png": ImageFile(size=(1, 1)),
    "column.png": ImageFile(size=(1, 200)),
    "row.png": ImageFile(size=(200, 1)),
    "rgb_clear.png": ImageFile(transparent="corner"),
    "rgba.png": ImageFile(mode="RGBA"),
    "palette.png": ImageFile(mode="P"),
    "palette_clear.png": ImageFile(mode="P", transparent="corner"),
    "palette_alphas.png": ImageFile(mode="P", transparent="all"),
    "bits.png": ImageFile(mode="1"),
    "grey.png": ImageFile(mode="L"),
    "grey_clear.png": ImageFile(mode="L", transparent="corner"),
    "grey_alpha.png": ImageFile(mode="LA"),
    "grey16.png": ImageFile(mode="I;16"),
    "turned_6.png": ImageFile(orientation=6),
    "rgb.jpg": ImageFile(size=(53, 37), save={"quality": 85}),
    "grey.jpg": ImageFile(mode="L"),
    "cmyk.jpg": ImageFile(mode="CMYK"),
    "progressive.jpg": ImageFile(save={"progressive": True}),
    **{f"turned_{turn}.jpg": ImageFile(orientation=turn) for turn in range(2, 9)},
    "lossy.webp": ImageFile(save={"quality": 60}),
    "rgba.webp": ImageFile(mode="RGBA", save={"lossless": True}),
    "frames.webp": ImageFile(frames=2, save={"lossless": True}),
    "frames.gif": ImageFile(mode="P", transparent="corner", frames=2),
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
    """Build a config like LLaVA-1.5's. crop: height and width."""
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
    for name, file in IMAGE_FILES.items():
        write(folder / name, file)
    (folder / "configs.json").write_text(json.dumps(CONFIGS, indent=2, sort_keys=True) + "\n")
    pixels = {
        f"{name}/{file}": preprocess(config, folder / file)
        for name, config in CONFIGS.items()
        for file in (IMAGE_FILES if name == "llava" else SOME)
    }
    np.savez_compressed(directory / "pictures.npz", **pixels)
    size = sum(path.stat().st_size for path in [*folder.iterdir(), directory / "pictures.npz"])
    print(f"{'pictures':12} {size / 1000:6.1f} kB, {len(pixels)} cases")


def preprocess(config: Mapping[str, Any], path: Path) -> np.ndarray:
    """Return (3, H, W) float32."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Palette images with Transparency")
        image = load_image(str(path))
    processor = CLIPImageProcessorPil.from_dict(dict(config))
    pixels = processor(image, return_tensors="np").pixel_values[0]
    assert pixels.dtype == np.float32 and pixels.shape[0] == 3
    return pixels


def write(path: Path, file: ImageFile) -> None:
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    first, *others = [paint(rng, file) for _ in range(file.frames)]
    options = dict(file.save)
    if file.transparent:
        alphas = rng.integers(0, 256, NUM_COLORS).astype(np.uint8).tobytes()
        options["transparency"] = first.getpixel((0, 0)) if file.transparent == "corner" else alphas
    if file.orientation:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = file.orientation
        options["exif"] = exif
    if others:
        options |= {"save_all": True, "append_images": others, "duration": 100}
    first.save(path, **options)


def paint(rng: np.random.Generator, file: ImageFile) -> Image.Image:
    bands = [Image.fromarray(draw(rng, *file.size)) for _ in range(4)]
    match file.mode:
        case "CMYK" | "RGBA":
            return Image.merge(file.mode, bands)
        case "LA":
            return Image.merge("LA", bands[:2])
        case "I;16":
            return Image.fromarray(draw(rng, *file.size).astype(np.uint16) * 3)
    image = Image.merge("RGB", bands[:3])
    if file.mode == "P":
        return image.quantize(NUM_COLORS, dither=Image.Dither.NONE)
    return image.convert(file.mode)


def draw(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Draw a wave, a flat patch at the top left and another elsewhere, (height, width) uint8."""
    rows, columns = np.mgrid[:height, :width]
    turns = rng.uniform(0.1, 0.6, 2)
    values = 128 + 127 * np.sin(turns[0] * rows + turns[1] * columns + rng.uniform(0, 6))
    values[: height // 3 + 1, : width // 4 + 1] = rng.integers(0, 256)
    top, left = rng.integers(height), rng.integers(width)
    values[top : top + height // 4, left : left + width // 3] = rng.integers(0, 256)
    return values.astype(np.uint8)
