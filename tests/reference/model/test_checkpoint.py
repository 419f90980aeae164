"""Checkpoint directories: valid ones load, errors name the file and the tensor."""

import json
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from reference.model.checkpoint import load, read_eos_token_ids, tensors
from reference.model.config import LlamaConfig
from reference.model.config_fields import ConfigError
from reference.model.stored_tensors import INDEX, SINGLE, CheckpointError
from reference.model.weights import EMBEDDING, LM_HEAD, expected_tensors

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 6,
    "hidden_size": 4,
    "intermediate_size": 5,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
NORM = "model.norm.weight"
Q = "model.layers.0.self_attn.q_proj.weight"


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def arrays(dtype: Any = np.float32, **fields: Any) -> dict[str, np.ndarray]:
    """Return random tensors of the small model, exact in every dtype."""
    rng = np.random.default_rng(0)
    shapes = dict(expected_tensors(LlamaConfig.from_json(CONFIG | fields)))
    return {name: rng.integers(-8, 8, shape).astype(dtype) for name, shape in shapes.items()}


def write(path: Path, values: dict[str, np.ndarray], **fields: Any) -> Path:
    write_json(path / "config.json", CONFIG | fields)
    save_file(values, path / SINGLE)
    return path


def write_shards(path: Path, *shards: dict[str, np.ndarray], **changes: Any) -> Path:
    """Write files 0.safetensors, 1.safetensors …, and an index with changed entries."""
    write_json(path / "config.json", CONFIG)
    for i, shard in enumerate(shards):
        save_file(shard, path / f"{i}.safetensors")
    index = {name: f"{i}.safetensors" for i, shard in enumerate(shards) for name in shard}
    write_json(path / INDEX, {"metadata": {}, "weight_map": index | changes})
    return path


def halves(values: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    items = list(values.items())
    return dict(items[:5]), dict(items[5:])


def assert_refused(path: Path, *mentioned: str, error: type[ValueError] = CheckpointError) -> None:
    with pytest.raises(error) as caught:
        load(path)
    for text in mentioned:
        assert text in str(caught.value)


@pytest.mark.parametrize("stored", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_load(tmp_path: Path, stored: Any, dtype: Any) -> None:
    values = arrays(stored)
    checkpoint = load(write(tmp_path, values), dtype)
    weights, layer = checkpoint.weights, checkpoint.weights.layers[0]
    assert weights.dtype == layer.q_proj.weight.dtype == dtype
    assert np.array_equal(weights.embedding, values[EMBEDDING].astype(dtype))
    assert np.array_equal(weights.lm_head, values[LM_HEAD].astype(dtype))
    assert np.array_equal(layer.q_proj.weight, values[Q].astype(dtype))
    assert layer.q_proj.bias is None
    assert checkpoint.directory == tmp_path
    assert checkpoint.eos_token_ids == (2,)


def test_tensors_keep_their_stored_dtype(tmp_path: Path) -> None:
    values = arrays() | {Q: arrays()[Q].astype(ml_dtypes.bfloat16)}
    loaded = dict(tensors(write(tmp_path, values)))
    assert loaded.keys() == values.keys()
    for name, value in values.items():
        assert loaded[name].dtype == value.dtype
        assert np.array_equal(loaded[name], value)


def test_biases(tmp_path: Path) -> None:
    flags = {"attention_bias": True, "mlp_bias": True}
    layer = load(write(tmp_path, arrays(**flags), **flags)).weights.layers[0]
    linears = [value for value in vars(layer).values() if hasattr(value, "bias")]
    assert len(linears) == 7
    assert all(linear.bias.shape == linear.weight.shape[:1] for linear in linears)


def test_shards(tmp_path: Path) -> None:
    values = arrays()
    loaded = load(write_shards(tmp_path, *halves(values))).weights
    assert np.array_equal(loaded.embedding, values[EMBEDDING])
    assert np.array_equal(loaded.lm_head, values[LM_HEAD])


def test_tied_embeddings_are_one_array(tmp_path: Path) -> None:
    values = arrays(tie_word_embeddings=True)
    assert LM_HEAD not in values
    weights = load(write(tmp_path, values, tie_word_embeddings=True)).weights
    assert weights.lm_head is weights.embedding


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_tied_embeddings_stored_twice(tmp_path: Path, dtype: Any) -> None:
    fields = {"tie_word_embeddings": True, "vocab_size": 1500}
    values = arrays(**fields)
    values[LM_HEAD] = values[EMBEDDING].astype(dtype)
    weights = load(write(tmp_path, values, **fields)).weights
    assert weights.lm_head is weights.embedding
    values[LM_HEAD][-1, -1] += dtype(1)
    assert_refused(write(tmp_path, values, **fields), LM_HEAD, EMBEDDING)
    values[LM_HEAD] = values[LM_HEAD][:-1]
    assert_refused(write(tmp_path, values, **fields), LM_HEAD, "shape")


def test_old_rotary_buffers_are_ignored(tmp_path: Path) -> None:
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(1, np.float32)}
    load(write(tmp_path, arrays() | buffer))


@pytest.mark.parametrize(
    ("generation", "ids"),
    [({}, (5,)), ({"eos_token_id": None}, (5,)), ({"eos_token_id": 3}, (3,))]
    + [({"eos_token_id": [3, 4]}, (3, 4)), (None, (5,))],
)
def test_eos_token_ids(tmp_path: Path, generation: Any, ids: tuple[int, ...]) -> None:
    write(tmp_path, arrays(), eos_token_id=5)
    if generation is not None:
        write_json(tmp_path / "generation_config.json", generation)
    assert load(tmp_path).eos_token_ids == ids


@pytest.mark.parametrize(
    ("config", "generation", "ids"),
    [
        (5, [3, 4], (3, 4)),
        ([3, 4], 5, (5,)),
        ([3, 4], None, (3, 4)),
        ([3, 4], [], ()),
        ([3], [4, 3], (4, 3)),
        (None, 3, (3,)),
    ],
)
def test_eos_list_in_one_file_and_number_in_the_other(
    tmp_path: Path, config: Any, generation: Any, ids: tuple[int, ...]
) -> None:
    """The ids of generation_config.json replace those of config.json: they are not merged."""
    write(tmp_path, arrays(), eos_token_id=config)
    write_json(tmp_path / "generation_config.json", {"eos_token_id": generation})
    assert load(tmp_path).eos_token_ids == ids


def test_bad_generation_config(tmp_path: Path) -> None:
    write(tmp_path, arrays())
    write_json(tmp_path / "generation_config.json", {"eos_token_id": "</s>"})
    assert_refused(tmp_path, "generation_config.json", "eos_token_id", error=ConfigError)
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="generation_config.json"):
        read_eos_token_ids(tmp_path, LlamaConfig.from_json(CONFIG))


def test_eos_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    """generation_config.json takes precedence over config.json."""
    write(tmp_path, arrays(), eos_token_id=[2, 6])
    assert_refused(tmp_path, "config.json", "eos_token_id: must be 0 … 5, got 6", error=ConfigError)
    write_json(tmp_path / "generation_config.json", {"eos_token_id": 5})
    assert load(tmp_path).eos_token_ids == (5,)
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [5, 6]})
    assert_refused(
        tmp_path, "generation_config.json", "eos_token_id: must be 0 … 5, got 6", error=ConfigError
    )


def test_dtypes_to_load(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dtype: .* got float16"):
        load(write(tmp_path, arrays()), np.float16)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "nul", '{"a": 1, "a": 1}', "\xff", "[" * 10**5, "9" * 5000]
)
def test_config_that_is_not_a_json_object(tmp_path: Path, text: str) -> None:
    write(tmp_path, arrays())
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    assert_refused(tmp_path, "config.json")


def test_missing_directory_or_config(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere", "config.json")
    save_file(arrays(), tmp_path / SINGLE)
    assert_refused(tmp_path, "config.json")
    assert_refused(tmp_path / SINGLE, "config.json")


def test_unsupported_config(tmp_path: Path) -> None:
    path = write(tmp_path, arrays(), hidden_act="gelu")
    assert_refused(path, "config.json", "hidden_act", error=ConfigError)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.ckpt"])
def test_pickles_are_never_loaded(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / "config.json", CONFIG)
    assert_refused(tmp_path, SINGLE)
    (tmp_path / name).write_bytes(b"\x80")
    assert_refused(tmp_path, name, "pickle")


@pytest.mark.parametrize("name", list(arrays(attention_bias=True, mlp_bias=True)))
def test_missing_extra_and_wrongly_shaped_tensors(tmp_path: Path, name: str) -> None:
    flags = {"attention_bias": True, "mlp_bias": True}
    values = arrays(**flags)
    tensor = values.pop(name)
    assert_refused(write(tmp_path, values, **flags), name, "missing")
    for shape in ((*tensor.shape, 1), (tensor.shape[0] + 1, *tensor.shape[1:])):
        values[name] = np.zeros(shape, np.float32)
        assert_refused(write(tmp_path, values, **flags), SINGLE, name, "shape")
    values[name], values["model.more"] = tensor, tensor
    assert_refused(write(tmp_path, values, **flags), SINGLE, "model.more")


def test_bias_without_its_flag_is_refused(tmp_path: Path) -> None:
    assert_refused(write(tmp_path, arrays(attention_bias=True)), "bias")


def test_huge_layer_count_is_refused(tmp_path: Path) -> None:
    assert_refused(
        write(tmp_path, arrays(), num_hidden_layers=10**15), "model.layers.1.", "missing"
    )


@pytest.mark.parametrize("dtype", [np.float64, np.int8, np.bool_, ml_dtypes.float8_e4m3fn])
def test_unsupported_stored_dtypes(tmp_path: Path, dtype: Any) -> None:
    values = arrays()
    values[NORM] = values[NORM].astype(dtype)
    assert_refused(write(tmp_path, values), SINGLE, NORM, "dtype")


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [NORM, Q, EMBEDDING])
def test_non_finite_values_are_refused(tmp_path: Path, dtype: Any, value: float, name: str) -> None:
    values = arrays(dtype)
    values[name].flat[2] = value
    assert_refused(write(tmp_path, values), SINGLE, name, "NaN or infinite")


def test_headers_are_checked_before_any_data(tmp_path: Path) -> None:
    values = arrays()
    values[EMBEDDING][:] = np.nan
    del values[NORM]
    path = write(tmp_path, values)
    with pytest.raises(CheckpointError, match="missing"):
        tensors(path)


@pytest.mark.parametrize(
    ("file", "mentioned"),
    [
        ("2.safetensors", "2.safetensors"),
        ("../0.safetensors", "../0.safetensors"),
        ("/etc/passwd", "/etc/passwd"),
        (".", "'.'"),
        ("a\0b", NORM),
        (None, NORM),
        ("1.safetensors", NORM),
    ],
)
def test_index_with_invalid_file_names(tmp_path: Path, file: Any, mentioned: str) -> None:
    path = tmp_path / "model"
    path.mkdir()
    first, second = halves(arrays())
    save_file(first, tmp_path / "0.safetensors")
    assert NORM in first
    assert_refused(write_shards(path, first, second, **{NORM: file}), INDEX, mentioned)


def test_index_that_contradicts_its_files(tmp_path: Path) -> None:
    first, second = halves(arrays())
    assert_refused(write_shards(tmp_path, first, second, more="0.safetensors"), INDEX, "more")
    assert_refused(
        write_shards(tmp_path, first, second | {NORM: first[NORM]}), NORM, "0.safetensors"
    )
    path = write_shards(tmp_path, {name: first[name] for name in first if name != NORM}, second)
    save_file(first, path / "0.safetensors")
    assert_refused(path, "0.safetensors", NORM, f"not in {INDEX}")


@pytest.mark.parametrize("index", ["{}", '{"weight_map": {}}', '{"weight_map": []}', "[]", "{"])
def test_invalid_index(tmp_path: Path, index: str) -> None:
    write_shards(tmp_path, *halves(arrays()))
    (tmp_path / INDEX).write_text(index)
    assert_refused(tmp_path, INDEX)


def test_index_that_omits_a_file(tmp_path: Path) -> None:
    write_shards(tmp_path, *halves(arrays()))
    assert_refused(write(tmp_path, arrays()), INDEX, SINGLE)


def test_index_of_a_single_file(tmp_path: Path) -> None:
    write(tmp_path, arrays())
    write_json(tmp_path / INDEX, {"weight_map": dict.fromkeys(arrays(), SINGLE)})
    load(tmp_path)


def encode_header(fields: dict[str, Any]) -> bytes:
    text = json.dumps(fields).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        b"\xff" * 8,
        struct.pack("<Q", 2**40) + b"{}",
        encode_header({NORM: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
        encode_header({NORM: {"dtype": "F32", "shape": [2**40] * 2, "data_offsets": [0, 0]}}),
        encode_header({NORM: {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}) + bytes(16),
        encode_header({NORM: {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}) + bytes(16),
        encode_header({NORM: {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]}}) + bytes(16),
        encode_header({NORM: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}) + bytes(17),
        struct.pack("<Q", 10**5) + b"[" * 10**5,
    ],
    ids=range(11),
)
def test_invalid_headers(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, arrays())
    (tmp_path / SINGLE).write_bytes(content)
    assert_refused(tmp_path, SINGLE)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("valid"), arrays(np.float16))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("damaged"), {})


def assert_equal_or_refused(valid: Path, damaged: Path, content: bytes) -> None:
    (damaged / SINGLE).write_bytes(content)
    try:
        loaded = dict(tensors(damaged))
    except CheckpointError as error:
        assert str(damaged) in str(error) or "missing" in str(error)
    else:
        expected = dict(tensors(valid))
        assert all(np.array_equal(loaded[name], expected[name]) for name in expected)


@given(length=st.integers(0, 10**4))
def test_truncated_files(valid: Path, damaged: Path, length: int) -> None:
    content = (valid / SINGLE).read_bytes()
    assert_equal_or_refused(valid, damaged, content[: length % len(content)])


@given(flips=st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 7)), min_size=1, max_size=3))
def test_flipped_bits_in_the_header(
    valid: Path, damaged: Path, flips: list[tuple[int, int]]
) -> None:
    content = bytearray((valid / SINGLE).read_bytes())
    end = 8 + struct.unpack("<Q", content[:8])[0]
    for position, bit in flips:
        content[position % end] ^= 1 << bit
    assert_equal_or_refused(valid, damaged, bytes(content))
