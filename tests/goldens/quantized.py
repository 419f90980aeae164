"""Random small quantized checkpoints, and the logits of compressed-tensors' arithmetic in float32.

The directories `quantized_<name>/` have the files of `tests.goldens.models`. compressed-tensors
quantizes the weights, packs them, and rounds the inputs of linear layers and the keys and values of
the cache; transformers computes the rest.

Tokens are drawn again until the logits do not depend on rounding errors: no input of a linear layer
is nearly halfway between two numbers.
"""

import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationStrategy
from compressed_tensors.quantization.lifecycle.forward import dequantize, fake_quantize, quantize
from compressed_tensors.quantization.utils import (
    calculate_qparams,
    compute_dynamic_scales_and_zp,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from tests.goldens.models import SMALL, fill, write_json

TOKENS, DRAWS = 12, 300
PERTURBATION, PERTURBATIONS = 5e-7, 6  # of the embeddings: a few roundings
MAX_CHANGE = 1e-5  # of the logits' range

INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
FP8 = {"num_bits": 8, "type": "float", "symmetric": True}
TOKEN = {"strategy": "token", "dynamic": True}
TENSOR = {"strategy": "tensor", "dynamic": False}
CHANNEL = {"strategy": "channel", "dynamic": False}
BLOCK = {"strategy": "block", "block_structure": [8, 6]}
GROUP = {"strategy": "group", "group_size": 6, "dynamic": True}


@dataclass(frozen=True, kw_only=True)
class Model:
    """One golden checkpoint. format: of compressed-tensors, or "fp8"."""

    format: str
    weights: dict[str, Any]
    inputs: dict[str, Any] | None = None
    kv_cache: bool = False
    ignore: tuple[str, ...] = ("lm_head",)


DOWN = "model.layers.1.mlp.down_proj"
MODELS = {
    "int8_packed": Model(format="pack-quantized", weights=INT8 | CHANNEL),
    "int8": Model(format="int-quantized", weights=INT8 | CHANNEL, inputs=INT8 | TOKEN),
    "int8_static": Model(format="int-quantized", weights=INT8 | TENSOR, inputs=INT8 | TENSOR),
    "fp8": Model(
        format="float-quantized",
        weights=FP8 | CHANNEL,
        inputs=FP8 | TOKEN,
        ignore=("lm_head", DOWN),
    ),
    "fp8_static": Model(
        format="float-quantized", weights=FP8 | TENSOR, inputs=FP8 | TENSOR, kv_cache=True
    ),
    "fp8_block": Model(format="fp8", weights=FP8 | BLOCK, inputs=FP8 | GROUP),
}


def make(directory: Path) -> None:
    for name, model in MODELS.items():
        print(f"{name:12} logits over {write(directory / f'quantized_{name}', model):.1f}")


def write(directory: Path, model: Model) -> float:
    """Write one checkpoint and its golden file, and return the range of its logits."""
    rng = np.random.default_rng(zlib.crc32(directory.name.encode()))
    made = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
    fill(made, rng)
    layers = {
        name: module
        for name, module in made.named_modules()
        if isinstance(module, nn.Linear) and name not in model.ignore
    }
    stored = made.state_dict()
    for name, module in layers.items():
        del stored[f"{name}.weight"]
        stored |= quantize_weights(module, name, model)
    if model.inputs is not None and not model.inputs["dynamic"]:
        scales = calibrate(made, layers, model, rng)
        stored |= {f"{name}.input_scale": scale for name, scale in scales.items()}
    else:
        scales = {}
    kv_scales = {}
    for index in range(made.config.num_hidden_layers if model.kv_cache else 0):
        for kind in "k_scale", "v_scale":
            scale = torch.from_numpy(rng.uniform(0.005, 0.02, 1).astype(np.float32))
            stored[f"model.layers.{index}.self_attn.{kind}"] = kv_scales[index, kind] = scale
    write_checkpoint(directory, made, stored, model)
    for name, module in layers.items():
        round_inputs(module, model.inputs, scales.get(name))
    tokens, logits = stable_tokens(made, rng, kv_scales)
    np.savez(
        directory / "golden.npz",
        tokens=tokens.astype(np.int32),
        rows=np.arange(TOKENS, dtype=np.int32),
        logits=logits,
        frequencies=made.model.rotary_emb.inv_freq.numpy(),
    )
    return float(np.ptp(logits))


def quantize_weights(module: nn.Linear, name: str, model: Model) -> dict[str, Tensor]:
    """Quantize the weights of a layer. Return the tensors of its file, and leave the dequantized
    weights in the layer.
    """
    args, weight = QuantizationArgs(**model.weights), module.weight.data
    scale, zero_point = calculate_qparams(*extremes(weight, args), args)
    numbers = quantize(weight, scale, zero_point, args, dtype=args.pytorch_dtype())
    module.weight.data = dequantize(numbers, scale, None, args, dtype=torch.float32)
    if model.format == "pack-quantized":
        return {
            f"{name}.weight_packed": pack_to_int32(numbers, 8),
            f"{name}.weight_scale": scale,
            f"{name}.weight_shape": torch.tensor(weight.shape),
        }
    scale_name = "weight_scale_inv" if model.format == "fp8" else "weight_scale"
    return {f"{name}.weight": numbers, f"{name}.{scale_name}": scale}


def extremes(weight: Tensor, args: QuantizationArgs) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest weight of each part that has a scale."""
    if args.strategy == QuantizationStrategy.TENSOR:
        return weight.amin().reshape(1), weight.amax().reshape(1)
    if args.strategy == QuantizationStrategy.CHANNEL:
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    rows, columns = args.block_structure
    blocks = [[part for part in row.split(columns, 1)] for row in weight.split(rows)]
    return tuple(
        torch.stack([torch.stack([reduce(part) for part in row]) for row in blocks])
        for reduce in (torch.amin, torch.amax)
    )


def calibrate(
    made: LlamaForCausalLM, layers: dict[str, nn.Linear], model: Model, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Return a scale of the inputs of each layer, from random tokens."""
    args, scales, hooks = QuantizationArgs(**model.inputs), {}, []

    def observer(name: str) -> Callable[..., None]:
        def observe(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = inputs[0].amin().reshape(1), inputs[0].amax().reshape(1)
            scales[name] = calculate_qparams(low, high, args)[0]

        return observe

    for name, module in layers.items():
        hooks.append(module.register_forward_pre_hook(observer(name)))
    run(made, rng.integers(0, made.config.vocab_size, 40), {})
    for hook in hooks:
        hook.remove()
    return scales


def round_inputs(module: nn.Linear, inputs: dict[str, Any] | None, scale: Tensor | None) -> None:
    """Make a layer round its inputs as compressed-tensors does."""
    if inputs is None:
        return
    args = QuantizationArgs(**inputs)

    def rounded(module: nn.Module, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        [x] = values
        size = x.shape[-1]
        if args.group_size:  # the last group may be smaller
            x = nn.functional.pad(x, (0, -size % args.group_size))
        if args.dynamic:
            used, zero_point = compute_dynamic_scales_and_zp(x, args, module)
            if args.type == "int":  # of vLLM: not half of the range, 255 / 2 (decision 38)
                used = used * (127.5 / 127)
        else:
            used, zero_point = scale.to(x.dtype), None
        return (fake_quantize(x, used, zero_point, args)[..., :size],)

    module.register_forward_pre_hook(rounded)


class RoundedCache(DynamicCache):
    """A KV cache of fp8 numbers, with a scale for the keys and one for the values of a layer."""

    def __init__(self, scales: dict[tuple[int, str], Tensor]) -> None:
        super().__init__()
        self.scales, self.args = scales, QuantizationArgs(**FP8 | TENSOR)

    def update(self, keys: Tensor, values: Tensor, layer: int, *rest: Any, **options: Any) -> Any:
        keys, values = (
            fake_quantize(x, self.scales[layer, kind].to(x.dtype), None, self.args)
            for x, kind in ((keys, "k_scale"), (values, "v_scale"))
        )
        return super().update(keys, values, layer, *rest, **options)


def run(
    made: LlamaForCausalLM, tokens: np.ndarray, kv_scales: dict[tuple[int, str], Tensor]
) -> np.ndarray:
    """Return the logits of all tokens."""
    cache = RoundedCache(kv_scales) if kv_scales else None
    with torch.no_grad():
        output = made(
            torch.from_numpy(tokens)[None], past_key_values=cache, use_cache=cache is not None
        )
    return output.logits[0].numpy()


def stable_tokens(
    made: LlamaForCausalLM, rng: np.random.Generator, kv_scales: dict[tuple[int, str], Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Return random tokens and their logits, which do not depend on rounding errors."""
    for _ in range(DRAWS):
        tokens = rng.integers(0, made.config.vocab_size, TOKENS)
        logits = run(made, tokens, kv_scales)
        if is_stable(made, tokens, kv_scales, logits):
            return tokens, logits
    raise RuntimeError(f"no logits of {DRAWS} texts are stable")


def is_stable(
    made: LlamaForCausalLM,
    tokens: np.ndarray,
    kv_scales: dict[tuple[int, str], Tensor],
    logits: np.ndarray,
) -> bool:
    """Return whether the logits stay the same if the embeddings differ by rounding errors."""
    embedding = made.model.embed_tokens.weight
    original = embedding.data

    def perturbed() -> Iterator[np.ndarray]:
        generator = torch.Generator().manual_seed(0)
        for _ in range(PERTURBATIONS):
            noise = 2 * torch.rand(original.shape, generator=generator) - 1
            embedding.data = original * (1 + PERTURBATION * noise)
            yield run(made, tokens, kv_scales)
        embedding.data = original

    changes = [np.abs(other - logits).max() for other in perturbed()]
    return max(changes) <= MAX_CHANGE * np.ptp(logits)


def write_checkpoint(
    directory: Path, made: LlamaForCausalLM, stored: dict[str, Tensor], model: Model
) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in stored.items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    if model.format == "fp8":
        config = {
            "quant_method": "fp8",
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "weight_block_size": model.weights["block_structure"],
            "modules_to_not_convert": list(model.ignore),
        }
    else:
        config = {
            "quant_method": "compressed-tensors",
            "quantization_status": "compressed",
            "format": model.format,
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": as_json(model.weights),
                    "input_activations": as_json(model.inputs),
                    "output_activations": None,
                }
            },
            "ignore": list(model.ignore),
            "kv_cache_scheme": as_json(FP8 | TENSOR) if model.kv_cache else None,
            "global_compression_ratio": None,
        }
    fields = made.config.to_dict() | {
        "architectures": ["LlamaForCausalLM"],
        "quantization_config": config,
    }
    write_json(directory / "config.json", fields)


def as_json(args: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return arguments with all their fields, as compressed-tensors writes them."""
    return None if args is None else QuantizationArgs(**args).model_dump(mode="json")
