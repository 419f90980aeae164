"""Random tensors of a checkpoint, scaled to keep activations near 1, as in a trained model: large
ones would amplify rounding errors.
"""

import ml_dtypes
import numpy as np

from reference.model.config import LlamaConfig
from reference.model.quantization_scheme import INT8, Quantization
from reference.model.weights import linear_layers

SPREAD = 80.0  # the standard deviation of quantized weights, about
LARGEST_INPUT = 4.0  # beyond which static scales saturate


def random_tensor(
    rng: np.random.Generator, config: LlamaConfig, name: str, shape: tuple[int, ...]
) -> np.ndarray:
    """Draw one of the tensors of `expected_tensors`."""
    if config.quantization is not None:
        quantized = random_quantized_tensor(rng, config, config.quantization, name, shape)
        if quantized is not None:
            return quantized
    if name.endswith("norm.weight"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    size = 1.0 if len(shape) == 1 or "embed" in name else shape[1] ** -0.5
    return rng.normal(0, size, shape).astype(np.float32)


def random_quantized_tensor(
    rng: np.random.Generator,
    config: LlamaConfig,
    quantization: Quantization,
    name: str,
    shape: tuple[int, ...],
) -> np.ndarray | None:
    """Draw a tensor that only a quantized checkpoint has, None for any other."""
    module, _, kind = name.rpartition(".")
    limit = 127 if quantization.scheme.number == INT8 else 448
    if kind == "weight_shape":
        sizes, _ = linear_layers(config)[".".join(module.split(".")[-2:])]
        return np.array(sizes, np.int64)
    if kind == "weight_packed":
        # Four int8 numbers near 0, 128 added to each.
        numbers = rng.normal(128, SPREAD / 2, (*shape[:-1], 4 * shape[-1])).clip(0, 255)
        return numbers.astype(np.uint8).view("<i4")
    if kind == "weight_scale":
        D = config.hidden_size
        return (rng.uniform(0.5, 1.5, shape) * D**-0.5 / SPREAD).astype(np.float32)
    if kind == "input_scale":  # the same in all layers, since some have the same input
        return np.full(shape, LARGEST_INPUT / limit, np.float32)
    if kind in ("k_scale", "v_scale"):
        return rng.uniform(0.005, 0.02, shape).astype(np.float32)
    [dtype, *others] = quantization.stored_dtypes(name)
    if others:
        return None
    numbers = rng.normal(0, SPREAD, shape).clip(-limit, limit)
    return numbers.astype(np.int8 if dtype == "I8" else ml_dtypes.float8_e4m3fn)
