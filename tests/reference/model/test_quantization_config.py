"""`quantization_config`: published configs are read, everything unsupported is refused by name."""

import copy
from typing import Any

import pytest

from reference.model.config import LlamaConfig
from reference.model.config_fields import ConfigError
from reference.model.quantization_scheme import DYNAMIC, FP8, INT8, STATIC, Scheme

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def args(number: str, strategy: str, dynamic: bool = False, **fields: Any) -> dict[str, Any]:
    """Return arguments with all their fields, as compressed-tensors writes them."""
    return {
        "actorder": None,
        "block_structure": None,
        "dynamic": dynamic,
        "group_size": None,
        "num_bits": 8,
        "observer": None if dynamic else "minmax",
        "observer_kwargs": {},
        "strategy": strategy,
        "symmetric": True,
        "type": number,
        **fields,
    }


def compressed(
    storage: str, weights: dict[str, Any], inputs: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    group = {
        "input_activations": inputs,
        "output_activations": None,
        "targets": ["Linear"],
        "weights": weights,
    }
    return {
        "config_groups": {"group_0": group},
        "format": storage,
        "global_compression_ratio": 1.46,
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        **fields,
    }


W8A8 = compressed("int-quantized", args("int", "channel"), args("int", "token", True))
AUTO_FP8 = {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}
BLOCK_FP8 = {
    "quant_method": "fp8",
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "weight_block_size": [128, 128],
    "modules_to_not_convert": ["lm_head", "model.layers.0.mlp"],
}
BLOCK = args("float", "block", block_structure=[128, 128])
GROUP = args("float", "group", True, group_size=128)


def read(quantization: Any, **fields: Any) -> LlamaConfig:
    return LlamaConfig.from_json(LLAMA | {"quantization_config": quantization} | fields)


@pytest.mark.parametrize(
    ("json", "scheme"),
    [
        (W8A8, Scheme(number=INT8, rows=1, inputs=DYNAMIC)),
        (
            compressed("int-quantized", args("int", "tensor"), args("int", "tensor")),
            Scheme(number=INT8, inputs=STATIC),
        ),
        (
            compressed("pack-quantized", args("int", "channel")),
            Scheme(number=INT8, rows=1, packed=True),
        ),
        (
            compressed("naive-quantized", args("int", "channel", actorder="weight")),
            Scheme(number=INT8, rows=1),
        ),
        (
            compressed("float-quantized", args("float", "channel"), args("float", "token", True)),
            Scheme(number=FP8, rows=1, inputs=DYNAMIC),
        ),
        (
            compressed("float-quantized", args("float", "tensor"), args("float", "tensor")),
            Scheme(number=FP8, inputs=STATIC),
        ),
        (
            compressed("float-quantized", BLOCK, GROUP),
            Scheme(number=FP8, rows=128, columns=128, inputs=DYNAMIC),
        ),
        (AUTO_FP8, Scheme(number=FP8, inputs=STATIC)),
        (AUTO_FP8 | {"activation_scheme": "dynamic"}, Scheme(number=FP8, inputs=DYNAMIC)),
        (BLOCK_FP8, Scheme(number=FP8, rows=128, columns=128, inputs=DYNAMIC)),
    ],
)
def test_published_configs(json: dict[str, Any], scheme: Scheme) -> None:
    config = read(json)
    assert config.quantization is not None and config.quantization.scheme == scheme
    assert config.kv_dtype is None
    assert hash(config.quantization)


def test_absent_config_is_not_quantized() -> None:
    assert LlamaConfig.from_json(LLAMA).quantization is None
    assert read(None).quantization is None


KV = args("float", "tensor")


@pytest.mark.parametrize(
    "json",
    [W8A8 | {"kv_cache_scheme": KV}, AUTO_FP8 | {"kv_cache_scheme": "static"}],
)
def test_kv_cache_scheme(json: dict[str, Any]) -> None:
    config = read(json)
    assert config.kv_dtype == FP8
    assert config.quantization is not None and config.quantization.kv_scales


def test_kv_dtype_is_that_of_the_checkpoint_unless_it_is_given() -> None:
    plain, scaled = LlamaConfig.from_json(LLAMA), read(W8A8 | {"kv_cache_scheme": KV})
    assert plain.with_kv_dtype("auto").kv_dtype is None
    assert scaled.with_kv_dtype("auto").kv_dtype == plain.with_kv_dtype(FP8).kv_dtype == FP8
    with pytest.raises(ConfigError, match="kv_dtype: .* got 'fp8_e5m2'"):
        plain.with_kv_dtype("fp8_e5m2")


LAYER = "model.layers.3"


@pytest.mark.parametrize(
    ("json", "quantized", "ignored"),
    [
        (W8A8, [f"{LAYER}.mlp.up_proj"], ["lm_head"]),
        (W8A8 | {"ignore": ["lm_head", f"{LAYER}.mlp.up_proj"]}, [], [f"{LAYER}.mlp.up_proj"]),
        (
            W8A8 | {"ignore": ["re:.*lm_head", "re:.*mlp.*"]},
            [f"{LAYER}.self_attn.q_proj"],
            [f"{LAYER}.mlp.up_proj", "lm_head"],
        ),
        (AUTO_FP8 | {"ignored_layers": None}, [f"{LAYER}.mlp.up_proj"], ["lm_head"]),
        (
            BLOCK_FP8,
            [f"{LAYER}.mlp.up_proj", "model.layers.01.mlp.up_proj"],
            ["model.layers.0.mlp.up_proj"],
        ),
        (
            BLOCK_FP8 | {"modules_to_not_convert": ["up_proj"]},
            [f"{LAYER}.mlp.down_proj"],
            [f"{LAYER}.mlp.up_proj"],
        ),
    ],
)
def test_ignored_layers(json: dict[str, Any], quantized: list[str], ignored: list[str]) -> None:
    quantization = read(json).quantization
    assert quantization is not None
    assert all(quantization.applies(module) for module in quantized)
    assert not any(quantization.applies(module) for module in ignored)


def changed(json: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a config with another value at a path of names."""
    result = copy.deepcopy(json)
    *parents, name = path.split("/")
    fields = result
    for parent in parents:
        fields = fields[parent]
    fields[name] = value
    return result


W = "config_groups/group_0/weights"
IN = "config_groups/group_0/input_activations"


@pytest.mark.parametrize(
    ("json", "path", "value"),
    [
        (W8A8, "quant_method", "gptq"),
        (W8A8, "quant_method", None),
        (W8A8, "quant_method", ["fp8"]),
        (W8A8, "format", "dense"),
        (W8A8, "format", "marlin-24"),
        (W8A8, "format", "float-quantized"),
        (W8A8, "format", None),
        (W8A8, "config_groups", {}),
        (W8A8, "config_groups", {"a": {}, "b": {}}),
        (W8A8, "config_groups", [1]),
        (W8A8, "config_groups", {"W8A8": ["Linear"]}),
        (W8A8, "ignore", "lm_head"),
        (W8A8, "ignore", []),
        (W8A8, "ignore", ["lm_head", "re:("]),
        (W8A8, "ignore", [1]),
        (W8A8, "sparsity_config", {"format": "sparse-bitmask"}),
        (W8A8, "transform_config", {"config_groups": {"R1": {}}}),
        (W8A8, "kv_cache_scheme", args("int", "tensor")),
        (W8A8, "kv_cache_scheme", args("float", "channel")),
        (W8A8, "kv_cache_scheme", args("float", "tensor", True)),
        (W8A8, "kv_cache_scheme", args("float", "tensor", num_bits=4)),
        (W8A8, "kv_cache_scheme", "fp8"),
        (W8A8, "a_new_field", 1),
        (W8A8, f"{W}/num_bits", 4),
        (W8A8, f"{W}/num_bits", True),
        (W8A8, f"{W}/type", "float"),
        (W8A8, f"{W}/type", "uint"),
        (W8A8, f"{W}/symmetric", False),
        (W8A8, f"{W}/strategy", "group"),
        (W8A8, f"{W}/strategy", "token"),
        (W8A8, f"{W}/strategy", "tensor_group"),
        (W8A8, f"{W}/group_size", 128),
        (W8A8, f"{W}/block_structure", [128, 128]),
        (W8A8, f"{W}/dynamic", True),
        (W8A8, f"{W}/actorder", "group"),
        (W8A8, f"{W}/scale_dtype", "torch.float8_e8m0fnu"),
        (W8A8, f"{W}/a_new_field", 1),
        (W8A8, f"{IN}/num_bits", 4),
        (W8A8, f"{IN}/symmetric", False),
        (W8A8, f"{IN}/strategy", "tensor"),
        (W8A8, f"{IN}/strategy", "group"),
        (W8A8, f"{IN}/dynamic", "local"),
        (W8A8, f"{IN}/type", "float"),
        (W8A8, "config_groups/group_0/output_activations", args("int", "tensor")),
        (W8A8, "config_groups/group_0/targets", "Linear"),
        (W8A8, "config_groups/group_0/weights", None),
        (W8A8, "config_groups/group_0/format", "pack-quantized"),
        (compressed("pack-quantized", args("int", "channel")), f"{W}/num_bits", 4),
        (
            compressed("pack-quantized", args("int", "channel")),
            IN,
            args("int", "token", True),
        ),
        (compressed("float-quantized", BLOCK, GROUP), f"{IN}/group_size", 64),
        (compressed("float-quantized", BLOCK, GROUP), f"{W}/block_structure", [128]),
        (compressed("float-quantized", BLOCK, GROUP), f"{W}/block_structure", [0, 128]),
        (compressed("float-quantized", BLOCK, GROUP), f"{W}/block_structure", None),
        (AUTO_FP8, "activation_scheme", None),
        (AUTO_FP8, "activation_scheme", "token"),
        (AUTO_FP8, "weight_block_size", [128, 128]),
        (AUTO_FP8, "ignored_layers", "lm_head"),
        (AUTO_FP8, "kv_cache_scheme", "dynamic"),
        (BLOCK_FP8, "weight_block_size", 128),
        (BLOCK_FP8, "weight_block_size", [128, 0]),
        (BLOCK_FP8, "fmt", "e5m2"),
        (BLOCK_FP8, "scale_fmt", "ue8m0"),
        (BLOCK_FP8, "dequantize", True),
        (BLOCK_FP8, "config_groups", {}),
    ],
)
def test_unsupported_values_are_refused_by_name(
    json: dict[str, Any], path: str, value: Any
) -> None:
    read(json)
    with pytest.raises(ConfigError) as caught:
        read(changed(json, path, value))
    message = str(caught.value)
    assert message.startswith("quantization_config.")
    assert path.rpartition("/")[2] in message or path in (IN, f"{W}/type", f"{W}/block_structure")


@pytest.mark.parametrize("value", [[], "fp8", 1, True])
def test_config_that_is_not_an_object(value: Any) -> None:
    with pytest.raises(ConfigError, match="^quantization_config: must be an object"):
        read(value)


@pytest.mark.parametrize("level", ["top", "text_config"])
def test_vision_language_models_are_refused(level: str) -> None:
    text: dict[str, Any] = {"model_type": "llama"}
    json = {"architectures": ["LlavaForConditionalGeneration"], "text_config": text}
    (json if level == "top" else text)["quantization_config"] = W8A8
    with pytest.raises(ConfigError, match="quantization_config: not supported for Llava"):
        LlamaConfig.from_json(json)
