"""Checks of a quantized checkpoint that need its tensors."""

from collections.abc import Mapping

import numpy as np

from reference.model.config import LlamaConfig
from reference.model.config_fields import ConfigError
from reference.model.quantization_scheme import LINEAR, STATIC, Quantization, matches
from reference.model.stored_tensors import CheckpointError, StoredTensor
from reference.model.weights import linear_layers

# Linear layers with the same input, which an engine may multiply at once.
SAME_INPUT = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("mlp.gate_proj", "mlp.up_proj"),
)
POSITIVE = (".input_scale", ".k_scale", ".v_scale")  # values are divided by these


def check_quantization(config: LlamaConfig, stored: Mapping[str, StoredTensor]) -> None:
    """Check the tensors of a quantized model by their canonical names, whose shapes are right.

    Raises ConfigError for an entry of `targets` or `ignore` that names no module, and for layers of
    the same input that are not quantized alike; CheckpointError for a scale that is not positive,
    and for shapes of packed weights.
    """
    quantization = config.quantization
    assert quantization is not None
    _check_entries(quantization, {name.rpartition(".")[0] for name in stored} | {"lm_head"})
    for name, tensor in stored.items():
        if name.endswith(POSITIVE) and not (tensor.read().astype(np.float32) > 0).all():
            raise CheckpointError(f"{tensor.file}: {tensor.name}: must be positive")
        if name.endswith(".weight_shape"):
            shape, _ = linear_layers(config)[".".join(name.split(".")[-3:-1])]
            if tensor.read().tolist() != list(shape):
                raise CheckpointError(f"{tensor.file}: {tensor.name}: must be {shape}")
    for layer in (f"model.layers.{i}" for i in range(config.num_hidden_layers)):
        for parts in SAME_INPUT:
            _check_same_input(quantization, stored, [f"{layer}.{part}" for part in parts])


def _check_entries(quantization: Quantization, modules: set[str]) -> None:
    for field in "targets", "ignore":
        for entry in getattr(quantization, field):
            if entry != LINEAR and not any(matches(entry, module) for module in modules):
                raise ConfigError(f"quantization_config: {field}: no module matches {entry!r}")


def _check_same_input(
    quantization: Quantization, stored: Mapping[str, StoredTensor], modules: list[str]
) -> None:
    applies = [quantization.applies(module) for module in modules]
    if any(applies) != all(applies):
        raise ConfigError(
            f"quantization_config: ignore: must have all of {', '.join(modules)}, or none"
        )
    if quantization.scheme.inputs == STATIC and all(applies):
        tensors = [stored[f"{module}.input_scale"] for module in modules]
        if len({float(tensor.read().astype(np.float32).item()) for tensor in tensors}) > 1:
            names = ", ".join(tensor.name for tensor in tensors)
            raise CheckpointError(f"{tensors[0].file}: {names}: must be equal: they share an input")
