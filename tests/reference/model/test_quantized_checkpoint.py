"""Quantized checkpoint directories: every spelling loads, errors name the file and the tensor."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from conformance.parity.harness.random_tensors import random_tensor
from conformance.parity.model.llama import KV_CACHE, STATIC, TOKEN, compressed
from reference.model import llama
from reference.model.checkpoint import Checkpoint, load
from reference.model.config import LlamaConfig
from reference.model.config_fields import ConfigError
from reference.model.quantization import InputRounding
from reference.model.quantization_scheme import FP8, INT8
from reference.model.stored_tensors import SINGLE, CheckpointError
from reference.model.weights import expected_tensors

SIZES = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 6,
    "hidden_size": 6,
    "intermediate_size": 5,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
}
LAYER = "model.layers.1"
Q, DOWN = f"{LAYER}.self_attn.q_proj", f"{LAYER}.mlp.down_proj"
TENSOR = {"strategy": "tensor"}

W8A8 = compressed("int", "int-quantized", TOKEN)
PACKED = compressed("int", "pack-quantized", None)
FP8_STATIC = compressed("float", "float-quantized", STATIC, **TENSOR)
AUTO_FP8 = {"quant_method": "fp8", "activation_scheme": "static"}
BLOCK_FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [4, 4]}

Tensors = dict[str, np.ndarray]


def tensors(quantization: dict[str, Any]) -> Tensors:
    config = LlamaConfig.from_json(SIZES | {"quantization_config": quantization})
    rng = np.random.default_rng(0)
    return {name: random_tensor(rng, config, name, s) for name, s in expected_tensors(config)}


def write(path: Path, quantization: dict[str, Any], values: Tensors) -> Path:
    (path / "config.json").write_text(json.dumps(SIZES | {"quantization_config": quantization}))
    save_file(values, path / SINGLE)
    return path


def assert_refused(path: Path, *mentioned: str, error: type[ValueError] = CheckpointError) -> None:
    with pytest.raises(error) as caught:
        load(path)
    for text in mentioned:
        assert text in str(caught.value)


def logits(checkpoint: Checkpoint) -> np.ndarray:
    x_TD = llama.hidden_states(checkpoint.weights, checkpoint.config, np.arange(5))
    return llama.logits(checkpoint.weights, x_TD)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_are_numbers_times_scales(tmp_path: Path, dtype: Any) -> None:
    values = tensors(W8A8)
    layer = load(write(tmp_path, W8A8, values), dtype).weights.layers[1]
    expected = values[f"{Q}.weight"].astype(dtype) * values[f"{Q}.weight_scale"].astype(dtype)
    assert layer.q_proj.weight.dtype == dtype
    assert np.array_equal(layer.q_proj.weight, expected)
    assert layer.q_proj.input_rounding is not None
    assert vars(layer.q_proj.input_rounding) == vars(InputRounding(number=INT8))


def test_packed_weights_are_four_numbers_each(tmp_path: Path) -> None:
    values = tensors(PACKED)
    layer = load(write(tmp_path, PACKED, values)).weights.layers[1]
    numbers = values[f"{Q}.weight_packed"].view(np.uint8)[:, :6].astype(np.float32) - 128
    assert np.array_equal(layer.q_proj.weight, numbers * values[f"{Q}.weight_scale"])
    assert layer.q_proj.input_rounding is None


def test_static_scales(tmp_path: Path) -> None:
    values = tensors(FP8_STATIC)
    rounding = load(write(tmp_path, FP8_STATIC, values)).weights.layers[1].q_proj.input_rounding
    scale = float(values[f"{Q}.input_scale"].item())
    assert vars(rounding) == vars(InputRounding(number=FP8, scale=scale))


def test_ignored_layers_are_stored_as_usual(tmp_path: Path) -> None:
    config = W8A8 | {"ignore": ["lm_head", DOWN]}
    values = tensors(config)
    assert f"{DOWN}.weight_scale" not in values
    layers = load(write(tmp_path, config, values)).weights.layers
    assert np.array_equal(layers[1].down_proj.weight, values[f"{DOWN}.weight"])
    assert [layer.down_proj.input_rounding is None for layer in layers] == [False, True]


@pytest.mark.parametrize(
    ("config", "renamed"),
    [
        (AUTO_FP8, {}),
        (AUTO_FP8, {"weight_scale": "weight_scale_inv", "input_scale": "activation_scale"}),
    ],
)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_spellings_of_the_same_checkpoint(
    tmp_path: Path, config: dict[str, Any], renamed: dict[str, str], shape: Any, dtype: Any
) -> None:
    values = tensors(FP8_STATIC)
    rounded = {
        name: value.astype(dtype).astype(np.float32) if name.endswith("_scale") else value
        for name, value in values.items()
    }
    expected = logits(load(write(tmp_path, FP8_STATIC, rounded)))
    spelled = {}
    for name, value in rounded.items():
        module, _, kind = name.rpartition(".")
        if kind.endswith("_scale"):
            value = value.reshape(shape).astype(dtype)
        spelled[f"{module}.{renamed.get(kind, kind)}"] = value
    assert np.array_equal(logits(load(write(tmp_path, config, spelled))), expected)


@pytest.mark.parametrize("config", [W8A8, BLOCK_FP8])
def test_kv_scales(tmp_path: Path, config: dict[str, Any]) -> None:
    config = config | {"kv_cache_scheme": KV_CACHE}
    values = tensors(config)
    loaded = load(write(tmp_path, config, values))
    for index, layer in enumerate(loaded.weights.layers):
        for kind in "k_scale", "v_scale":
            stored = values[f"model.layers.{index}.self_attn.{kind}"].item()
            assert getattr(layer, kind) == stored != 1
    without = {n: v for n, v in values.items() if not n.endswith((".k_scale", ".v_scale"))}
    assert_refused(write(tmp_path, config, without), "k_scale", "missing")


def test_fp8_cache_without_stored_scales_has_scale_one(tmp_path: Path) -> None:
    path = write(tmp_path, W8A8, tensors(W8A8))
    plain, rounded = load(path), load(path, kv_dtype=FP8)
    assert plain.config.kv_dtype is None and rounded.config.kv_dtype == FP8
    assert {layer.k_scale for layer in rounded.weights.layers} == {1.0}
    assert not np.array_equal(logits(plain), logits(rounded))


def test_fp8_cache_stores_numbers_of_its_type(tmp_path: Path) -> None:
    config = W8A8 | {"kv_cache_scheme": KV_CACHE}
    loaded = load(write(tmp_path, config, tensors(config)))
    cache = llama.KVCache.empty(loaded.config)
    llama.hidden_states(loaded.weights, loaded.config, np.arange(5), cache)
    for blocks, kind in zip(cache.block(0, 5), ("k_scale", "v_scale"), strict=True):
        for layer, block in zip(loaded.weights.layers, blocks, strict=True):
            numbers = block / np.float32(getattr(layer, kind))
            stored = numbers.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
            np.testing.assert_allclose(stored, numbers, rtol=1e-6)


def cast(name: str, dtype: Any) -> Any:
    return lambda values: values | {name: values[name].astype(dtype)}


def filled(name: str, value: Any) -> Any:
    return lambda values: values | {name: np.full_like(values[name], value)}


def without(name: str) -> Any:
    return lambda values: {n: v for n, v in values.items() if n != name}


def added(name: str, value: Any) -> Any:
    return lambda values: values | {name: np.asarray(value)}


NAN8 = np.uint8(0x7F).view(ml_dtypes.float8_e4m3fn)


@pytest.mark.parametrize(
    ("config", "change", "mentioned"),
    [
        (W8A8, without(f"{Q}.weight_scale"), (f"{Q}.weight_scale", "missing")),
        (W8A8, cast(f"{Q}.weight", np.float32), (f"{Q}.weight", "dtype", "I8", "F32")),
        (W8A8, cast(f"{Q}.weight", np.uint8), (f"{Q}.weight", "dtype", "U8")),
        (W8A8, cast(f"{Q}.weight_scale", np.int8), (f"{Q}.weight_scale", "dtype")),
        (W8A8, added(f"{Q}.weight_scale", np.ones(1, np.float32)), (f"{Q}.weight_scale", "shape")),
        (W8A8, filled(f"{Q}.weight_scale", np.inf), (f"{Q}.weight_scale", "infinite")),
        (W8A8, added(f"{Q}.weight_zero_point", np.zeros((6, 1), np.int8)), ("weight_zero_point",)),
        (W8A8, added("lm_head.weight_scale", np.ones((6, 1), np.float32)), ("lm_head",)),
        (W8A8, added(f"{Q}.input_scale", np.ones(1, np.float32)), (f"{Q}.input_scale",)),
        (W8A8, added(f"{LAYER}.self_attn.k_scale", np.ones(1, np.float32)), ("k_scale",)),
        (PACKED, without(f"{Q}.weight_shape"), (f"{Q}.weight_shape", "missing")),
        (PACKED, added(f"{Q}.weight_shape", [6, 8]), (f"{Q}.weight_shape", "(6, 6)")),
        (PACKED, cast(f"{Q}.weight_packed", np.int64), (f"{Q}.weight_packed", "dtype")),
        (FP8_STATIC, filled(f"{Q}.weight", NAN8), (f"{Q}.weight", "NaN")),
        (FP8_STATIC, filled(f"{Q}.input_scale", 0), (f"{Q}.input_scale", "positive")),
        (FP8_STATIC, filled(f"{Q}.input_scale", 0.5), (f"{Q}.input_scale", "must be equal")),
        (AUTO_FP8, filled(f"{DOWN}.input_scale", -1), (f"{DOWN}.input_scale", "positive")),
        (
            AUTO_FP8,
            added(f"{Q}.weight_scale_inv", np.ones((), np.float32)),
            (f"{Q}.weight_scale_inv", "the same tensor as"),
        ),
        (
            BLOCK_FP8,
            added(f"{Q}.weight_scale_inv", np.ones((2, 1), np.float32)),
            (f"{Q}.weight_scale_inv", "the same tensor as"),
        ),
        (BLOCK_FP8, added(f"{Q}.weight_scale", np.ones((2, 1), np.float32)), ("shape", "(2, 2)")),
        (
            BLOCK_FP8 | {"kv_cache_scheme": KV_CACHE},
            filled(f"{LAYER}.self_attn.v_scale", 0),
            ("v_scale", "positive"),
        ),
    ],
)
def test_tensors_that_contradict_the_config(
    tmp_path: Path, config: dict[str, Any], change: Any, mentioned: tuple[str, ...]
) -> None:
    values = tensors(config)
    load(write(tmp_path, config, values))
    assert_refused(write(tmp_path, config, change(values)), *mentioned)


@pytest.mark.parametrize(
    ("config", "mentioned"),
    [
        (W8A8 | {"ignore": ["lm_head", "model.layers.7.mlp.down_proj"]}, "model.layers.7"),
        (W8A8 | {"ignore": ["lm_head", "re:.*vision.*"]}, "vision"),
        (W8A8 | {"ignore": ["lm_head", f"{LAYER}.mlp.up_proj"]}, "up_proj"),
        (BLOCK_FP8 | {"modules_to_not_convert": ["q_proj"]}, "q_proj"),
        (BLOCK_FP8 | {"ignored_layers": ["model.layers.2"]}, "layers"),
    ],
)
def test_entries_of_ignore_that_cannot_be_honored(
    tmp_path: Path, config: dict[str, Any], mentioned: str
) -> None:
    path = write(tmp_path, config, tensors(config))
    assert_refused(path, "ignore", mentioned, error=ConfigError)


def test_unknown_targets_are_refused(tmp_path: Path) -> None:
    config = json.loads(json.dumps(W8A8))
    config["config_groups"]["group_0"]["targets"] = ["re:.*_proj$", "Conv1d"]
    path = write(tmp_path, config, tensors(config))
    assert_refused(path, "targets", "Conv1d", error=ConfigError)
    config["config_groups"]["group_0"]["targets"] = ["re:.*_proj$"]
    load(write(tmp_path, config, tensors(config)))


def test_names_of_norms_and_of_embeddings_may_be_in_the_ignore_list(tmp_path: Path) -> None:
    entries = ["lm_head", "model.embed_tokens", f"{LAYER}.input_layernorm"]
    config = BLOCK_FP8 | {"modules_to_not_convert": entries}
    load(write(tmp_path, config, tensors(config)))
