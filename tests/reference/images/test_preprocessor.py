"""Preprocessed pixels, compared with transformers' CLIPImageProcessorPil."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reference.images import decoding
from reference.images.limits import ImageLimits
from reference.images.preprocessor import Preprocessor
from reference.model.config_fields import ConfigError

FOLDER = Path(__file__).parents[2] / "goldens" / "pictures"
CONFIGS = json.loads((FOLDER / "configs.json").read_text())
with np.load(FOLDER.parent / "pictures.npz") as file:
    GOLDENS: dict[str, np.ndarray] = dict(file)
TYPES = {".jpg": "jpeg", ".png": "png", ".webp": "webp", ".gif": "gif"}


def uri(path: Path) -> str:
    """Encode an image file as a `data:` URI."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:image/{TYPES[path.suffix]};base64,{content}"


@pytest.mark.parametrize("name", GOLDENS)
def test_pixels_equal_transformers(name: str) -> None:
    config, file = name.split("/")
    image = decoding.decode_image(uri(FOLDER / file), ImageLimits())
    pixels = Preprocessor.from_json(CONFIGS[config]).pixels(image)
    assert pixels.shape == GOLDENS[name].shape
    np.testing.assert_allclose(pixels, GOLDENS[name], rtol=0, atol=1e-6)


SIDES = st.integers(1, 60)


@given(SIDES, SIDES, SIDES, SIDES)
def test_crop_size(width: int, height: int, edge: int, crop: int) -> None:
    preprocessor = Preprocessor.from_json({"size": edge, "crop_size": crop})
    pixels = preprocessor.pixels(Image.new("RGB", (width, height)))
    assert pixels.shape == (3, crop, crop) and pixels.dtype == np.float32
    assert preprocessor.output == (crop, crop)


@given(SIDES, SIDES, SIDES)
def test_shorter_side_is_resized_to_the_edge(width: int, height: int, edge: int) -> None:
    preprocessor = Preprocessor.from_json({"size": edge, "do_center_crop": False})
    _, *sides = preprocessor.pixels(Image.new("RGB", (width, height))).shape
    assert min(sides) == edge
    assert (sides[0] <= sides[1]) == (height <= width) or sides[0] == sides[1]
    assert preprocessor.output is None


REFUSED: dict[str, dict[str, Any]] = {
    "image_processor_type": {"image_processor_type": "SiglipImageProcessor"},
    "do_pad": {"do_pad": True},
    "use_square_size": {"use_square_size": True},
    "do_resize": {"do_resize": "yes"},
    "size": {"size": {"height": 3}},
    "size.shortest_edge": {"size": {"shortest_edge": 0}},
    "size: longest_edge": {"size": {"shortest_edge": 3, "longest_edge": 4}},
    "crop_size": {"crop_size": -1},
    "crop_size.width": {"crop_size": {"height": 3}},
    "resample": {"resample": 9},
    "resample: True": {"resample": True},
    "rescale_factor": {"rescale_factor": 0},
    "image_mean": {"image_mean": [1, 2]},
    "image_mean: .*nan": {"image_mean": [1, float("nan"), 2]},
    "image_std": {"image_std": [1, 0, 1]},
    "image_std: .*e-320": {"image_std": [1, 1e-320, 1]},
}


@pytest.mark.parametrize("field", REFUSED)
def test_unsupported_fields_are_refused_by_name(field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}"):
        Preprocessor.from_json(REFUSED[field])


def test_directory_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no preprocessor_config.json"):
        Preprocessor.load(tmp_path)


def test_processor_config_takes_precedence(tmp_path: Path) -> None:
    config = {"image_processor": {"size": 5, "crop_size": 4}}
    (tmp_path / "processor_config.json").write_text(json.dumps(config))
    assert Preprocessor.load(tmp_path).output == (4, 4)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"crop_size": 6}))
    assert Preprocessor.load(tmp_path).output == (4, 4)
    (tmp_path / "processor_config.json").write_text(json.dumps({"patch_size": 14}))
    assert Preprocessor.load(tmp_path).output == (6, 6)


@pytest.mark.parametrize("text", ["[]", "{", '{"image_processor": 3}', '{"crop_size": 0}'])
def test_invalid_config_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    name = "processor_config.json" if "image_processor" in text else "preprocessor_config.json"
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=f"/{name}: "):
        Preprocessor.load(tmp_path)
