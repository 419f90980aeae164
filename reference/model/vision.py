"""From the pixels of one image to image embeddings: CLIP's vision encoder and LLaVA's projector.

    patches, class → + positions → norm → layers → features of some of them → linear, GELU, linear

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021), with
the Vision Transformer of Dosovitskiy et al., "An Image is Worth 16x16 Words" (2020); Liu et al.,
"Visual Instruction Tuning" (2023), with the projector of "Improved Baselines with Visual
Instruction Tuning" (2023). All arithmetic is in the dtype of the weights.

In shapes, P is the positions of the encoder (the class token, then the patches, row by row), C its
hidden size, S the side of an image in pixels, and I the image tokens of one image.
"""

import math

import numpy as np
from jaxtyping import Float

from reference.model.llama import softmax
from reference.model.vision_config import VisionConfig
from reference.model.vision_weights import Affine, VisionLayer, VisionWeights


def features(
    weights: VisionWeights, config: VisionConfig, pixels_3SS: Float[np.ndarray, "3 S S"]
) -> Float[np.ndarray, "I D"]:
    """Compute the embeddings of one image preprocessed by `reference.images.preprocessor`.

    Raises ValueError for an image of the wrong size.
    """
    states = tower(weights, config, pixels_3SS)
    first = 0 if config.keeps_class_token else 1
    chosen = np.concatenate([states[i][first:] for i in config.feature_layers], axis=1)
    hidden = activation(linear(chosen, weights.linear_1), config.projector_act)
    return linear(hidden, weights.linear_2)


def tower(
    weights: VisionWeights, config: VisionConfig, pixels_3SS: Float[np.ndarray, "3 S S"]
) -> list[Float[np.ndarray, "P C"]]:
    """Return the hidden states before the first layer and after each computed one."""
    eps = config.layer_norm_eps
    x_PC = layer_norm(embedding(weights, config, pixels_3SS), weights.pre_layernorm, eps)
    states = [x_PC]
    for layer in weights.layers:
        y_PC = layer_norm(x_PC, layer.layer_norm1, eps)
        x_PC = x_PC + attention(y_PC, layer, config.num_attention_heads)
        y_PC = layer_norm(x_PC, layer.layer_norm2, eps)
        hidden = activation(linear(y_PC, layer.fc1), config.hidden_act)
        x_PC = x_PC + linear(hidden, layer.fc2)
        states.append(x_PC)
    return states


def embedding(
    weights: VisionWeights, config: VisionConfig, pixels_3SS: Float[np.ndarray, "3 S S"]
) -> Float[np.ndarray, "P C"]:
    """Embed the class token and each patch, and add position embeddings."""
    S, size = config.image_size, config.patch_size
    if pixels_3SS.shape != (3, S, S):
        raise ValueError(f"image: shape must be {(3, S, S)}, got {pixels_3SS.shape}")
    side = S // size
    # Pixels beyond the last full patch are dropped.
    cropped = pixels_3SS[:, : side * size, : side * size].astype(weights.patch_embedding.dtype)
    patches = cropped.reshape(3, side, size, side, size).transpose(1, 3, 0, 2, 4)
    kernel = weights.patch_embedding.reshape(config.hidden_size, -1)
    rows_PC = patches.reshape(side * side, -1) @ kernel.T
    return np.concatenate([weights.class_embedding[None], rows_PC]) + weights.position_embedding


def attention(
    x_PC: Float[np.ndarray, "P C"], layer: VisionLayer, heads: int
) -> Float[np.ndarray, "P C"]:
    """Compute bidirectional multi-head attention."""

    def split(projection: Affine) -> Float[np.ndarray, "heads P H"]:
        return linear(x_PC, projection).reshape(len(x_PC), heads, -1).transpose(1, 0, 2)

    q_NPH, k_NPH, v_NPH = split(layer.q_proj), split(layer.k_proj), split(layer.v_proj)
    scores_NPP = (q_NPH * q_NPH.shape[-1] ** -0.5) @ k_NPH.transpose(0, 2, 1)
    out_NPH = softmax(scores_NPP) @ v_NPH
    return linear(out_NPH.transpose(1, 0, 2).reshape(x_PC.shape), layer.out_proj)


def linear(x_PI: Float[np.ndarray, "P in"], layer: Affine) -> Float[np.ndarray, "P out"]:
    """Compute y = W x + b for each row."""
    y_PO = x_PI @ layer.weight.T
    return y_PO if layer.bias is None else y_PO + layer.bias


def layer_norm(
    x_PC: Float[np.ndarray, "P C"], norm: Affine, eps: float
) -> Float[np.ndarray, "P C"]:
    """Normalize each row to mean 0 and variance 1. Ba et al., "Layer Normalization" (2016)."""
    centered = x_PC - x_PC.mean(axis=-1, keepdims=True)
    variance = np.mean(centered * centered, axis=-1, keepdims=True)
    return centered / np.sqrt(variance + eps) * norm.weight + norm.bias


def activation(x: Float[np.ndarray, "P F"], kind: str) -> Float[np.ndarray, "P F"]:
    """Apply gelu, x · Φ(x) with the exact normal CDF Φ, or quick_gelu, x · sigmoid(1.702 x).

    Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016).
    """
    if kind == "quick_gelu":
        e = np.exp(-np.abs(1.702 * x))
        return x * np.where(x >= 0, 1, e) / (1 + e)
    return x * (1 + erf(x / math.sqrt(2))) / 2


def erf(x: Float[np.ndarray, "P F"]) -> Float[np.ndarray, "P F"]:
    """Compute the error function element by element. NumPy has none; this avoids SciPy."""
    return np.vectorize(math.erf, otypes=[x.dtype])(x)
