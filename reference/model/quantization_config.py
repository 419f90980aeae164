"""`quantization_config` of config.json: how the linear layers are stored, and which of them.

Two formats are read. compressed-tensors: int8 or fp8 weights with a scale for each tensor, channel
or block, inputs rounded or not. fp8: fp8 weights with a scale for each tensor or block, inputs
rounded. A field that would change the result is implemented or refused by its name.
"""

import re
from collections.abc import Mapping
from typing import Any

from reference.model.config_fields import ConfigError, as_size
from reference.model.quantization_scheme import DYNAMIC, FP8, INT8, STATIC, Quantization, Scheme

LM_HEAD_MODULE = "lm_head"

# The formats of compressed-tensors, by the weights they may have.
FORMATS = {
    "int-quantized": (INT8,),
    "float-quantized": (FP8,),
    "naive-quantized": (INT8, FP8),
    "pack-quantized": (INT8,),
}
# Fields of a group of compressed-tensors, fields without an effect, and those of fp8.
ARGUMENTS: tuple[str, ...] = ("observer", "observer_kwargs", "zp_dtype", "num_bits", "type")
ARGUMENTS += ("symmetric", "strategy")
ARGUMENTS += ("group_size", "block_structure", "dynamic", "actorder", "scale_dtype")
INFORMATION: tuple[str, ...] = ("quant_method", "quantization_status", "version", "run_compressed")
INFORMATION += ("global_compression_ratio",)
FP8_FIELDS: tuple[str, ...] = ("activation_scheme", "weight_block_size", "fmt", "scale_fmt")
FP8_FIELDS += ("ignored_layers", "modules_to_not_convert", "kv_cache_scheme", "dequantize")


def read_quantization(json: Mapping[str, Any]) -> Quantization | None:
    """Read `quantization_config`; None if it is absent. Raises ConfigError, naming the field."""
    fields = json.get("quantization_config")
    if fields is None:
        return None
    try:
        fields = as_object("", fields)
        method = require("quant_method", fields.get("quant_method"), "compressed-tensors", "fp8")
        return read_fp8(fields) if method == "fp8" else read_compressed_tensors(fields)
    except ConfigError as error:
        raise ConfigError(f"quantization_config.{error}".replace("config.:", "config:")) from None


def read_fp8(fields: Mapping[str, Any]) -> Quantization:
    """Read the format of AutoFP8, DeepSeek and transformers' FineGrainedFP8Config."""
    refuse_unknown("", fields, (*FP8_FIELDS, *INFORMATION))
    require("fmt", fields.get("fmt"), None, "e4m3")
    require("scale_fmt", fields.get("scale_fmt"), None, "float")
    require("dequantize", fields.get("dequantize"), None, False)
    inputs = require("activation_scheme", fields.get("activation_scheme"), STATIC, DYNAMIC)
    block = fields.get("weight_block_size")
    rows, columns = (None, None) if block is None else as_block("weight_block_size", block)
    if block is not None and inputs == STATIC:
        raise ConfigError("activation_scheme: must be 'dynamic' with weight_block_size")
    kv = fields.get("kv_cache_scheme")
    if kv is not None and kv != STATIC:
        read_kv_cache_scheme(kv)
    skipped = [LM_HEAD_MODULE]
    for name in "ignored_layers", "modules_to_not_convert":
        skipped += as_names(name, fields.get(name))
    return Quantization(
        scheme=Scheme(number=FP8, rows=rows, columns=columns, inputs=inputs),
        # An entry is a module, or the first or the last segments of its name.
        ignore=tuple(rf"re:(.*\.)?{re.escape(entry)}(\..*)?$" for entry in dict.fromkeys(skipped)),
        kv_scales=kv is not None,
        renamed=((".weight_scale_inv", ".weight_scale"), (".activation_scale", ".input_scale")),
    )


def read_compressed_tensors(fields: Mapping[str, Any]) -> Quantization:
    known = ("config_groups", "format", "ignore", "kv_cache_scheme")
    # Neutral if they are empty or say that there is none.
    for name in "sparsity_config", "transform_config":
        value = fields.get(name)
        if value and value != {"format": "dense"}:
            raise ConfigError(f"{name}: not supported, got {value!r}")
    refuse_unknown("", fields, (*known, "sparsity_config", "transform_config", *INFORMATION))
    storage = require("format", fields.get("format"), *FORMATS)
    groups = as_object("config_groups", fields.get("config_groups"))
    if len(groups) != 1:
        raise ConfigError(f"config_groups: must be one group, got {len(groups)}")
    [(label, value)] = groups.items()
    name = f"config_groups.{label}"
    group = as_object(name, value)
    refuse_unknown(
        f"{name}.",
        group,
        ("targets", "weights", "input_activations", "output_activations", "format"),
    )
    require(f"{name}.output_activations", group.get("output_activations"), None)
    require(f"{name}.format", group.get("format"), None, storage)
    scheme = read_scheme(name, group, storage)
    kv = fields.get("kv_cache_scheme")
    if kv is not None:
        read_kv_cache_scheme(kv)
    quantization = Quantization(
        scheme=scheme,
        targets=tuple(as_names(f"{name}.targets", group.get("targets"))),
        ignore=tuple(as_names("ignore", fields.get("ignore"))),
        kv_scales=kv is not None,
    )
    if quantization.applies(LM_HEAD_MODULE):
        raise ConfigError("ignore: must have 'lm_head': a quantized output head is not supported")
    return quantization


def read_scheme(name: str, group: Mapping[str, Any], storage: str) -> Scheme:
    """Read `weights` and `input_activations` of a group."""
    weights = as_object(f"{name}.weights", group.get("weights"))
    number = read_number(f"{name}.weights", weights)
    if number not in FORMATS[storage]:
        raise ConfigError(f"format: {storage!r} cannot be that of {number} weights")
    require(f"{name}.weights.dynamic", weights.get("dynamic"), None, False)
    # "weight" orders the columns while quantizing only; "group" needs an index of the columns.
    actorder = weights.get("actorder")
    require(f"{name}.weights.actorder", actorder, None, False, "weight", STATIC)
    strategy = read_strategy(f"{name}.weights", weights, "tensor", "channel", "block")
    rows: int | None = 1 if strategy == "channel" else None
    columns: int | None = None
    if strategy == "block":
        rows, columns = as_block(f"{name}.weights.block_structure", weights.get("block_structure"))
    inputs = None
    if group.get("input_activations") is not None:
        inputs = read_inputs(f"{name}.input_activations", group, number, columns)
    packed = storage == "pack-quantized"
    if packed and inputs:
        raise ConfigError(f"{name}.input_activations: must be null with format {storage!r}")
    return Scheme(number=number, rows=rows, columns=columns, inputs=inputs, packed=packed)


def read_inputs(name: str, group: Mapping[str, Any], number: str, columns: int | None) -> str:
    """Read `input_activations`. columns: the width of a block of weights, if they have blocks."""
    fields = as_object(name, group["input_activations"])
    if read_number(name, fields) != number:
        raise ConfigError(f"{name}.type: must be that of the weights, {number}")
    require(f"{name}.actorder", fields.get("actorder"), None, False)
    require(f"{name}.scale_dtype", fields.get("scale_dtype"), None)
    dynamic = require(f"{name}.dynamic", fields.get("dynamic", False), True, False)
    if columns is not None:
        require(f"{name}.dynamic", dynamic, True)
        read_strategy(name, fields, "group")
        require(f"{name}.group_size", fields.get("group_size"), columns)
        return DYNAMIC
    # A dynamic scale of a whole tensor would depend on the other rows of a batch.
    read_strategy(name, fields, "token" if dynamic else "tensor")
    return DYNAMIC if dynamic else STATIC


def read_number(name: str, fields: Mapping[str, Any]) -> str:
    """Read the type of quantized numbers: 8 bits, symmetric."""
    refuse_unknown(f"{name}.", fields, ARGUMENTS)
    require(f"{name}.num_bits", fields.get("num_bits", 8), 8)
    require(f"{name}.symmetric", fields.get("symmetric", True), True)
    scale_dtypes = (None, "torch.float32", "torch.bfloat16", "torch.float16")
    require(f"{name}.scale_dtype", fields.get("scale_dtype"), *scale_dtypes)
    return {"int": INT8, "float": FP8}[
        require(f"{name}.type", fields.get("type", "int"), "int", "float")
    ]


def read_strategy(name: str, fields: Mapping[str, Any], *supported: str) -> str:
    """Read `strategy`, or infer it from `group_size` as compressed-tensors does."""
    size, strategy = fields.get("group_size"), fields.get("strategy")
    if strategy is None:
        strategy = "tensor" if size is None else "channel" if size == -1 else "group"
    require(f"{name}.strategy", strategy, *supported)
    if strategy != "group":
        require(f"{name}.group_size", size, None, -1)
    if strategy != "block":
        require(f"{name}.block_structure", fields.get("block_structure"), None)
    return str(strategy)


def read_kv_cache_scheme(value: Any) -> None:
    """Check that the KV cache is fp8 with one static scale for the keys of a layer, and one for its
    values.
    """
    name = "kv_cache_scheme"
    fields = as_object(name, value)
    require(f"{name}.type", read_number(name, fields) == FP8 and "float", "float")
    require(f"{name}.dynamic", fields.get("dynamic"), None, False)
    read_strategy(name, fields, "tensor")


def require(name: str, value: Any, *allowed: Any) -> Any:
    """Return the value if it is one of those allowed; true is not 1."""
    if any(value == item and type(value) is type(item) for item in allowed):
        return value
    wanted = " or ".join(repr(item) if item is not None else "null" for item in allowed)
    raise ConfigError(f"{name}: must be {wanted}, got {value!r}")


def refuse_unknown(prefix: str, fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name, value in fields.items():
        if name not in known and value is not None:
            raise ConfigError(f"{prefix}{name}: not supported, got {value!r}")


def as_object(name: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return value
    raise ConfigError(f"{name}: must be an object, got {value!r}")


def as_names(name: str, value: Any) -> list[str]:
    """Read a list of names and of regular expressions; null is an empty one."""
    names = [] if value is None else value
    if not isinstance(names, list) or not all(isinstance(item, str) for item in names):
        raise ConfigError(f"{name}: must be a list of strings, got {value!r}")
    for item in names:
        if item.startswith("re:"):
            try:
                re.compile(item.removeprefix("re:"))
            except (re.error, RecursionError, OverflowError):
                raise ConfigError(f"{name}: not a regular expression: {item!r}") from None
    return names


def as_block(name: str, value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ConfigError(f"{name}: must be [rows, columns], got {value!r}")
    return as_size(name, value[0]), as_size(name, value[1])
