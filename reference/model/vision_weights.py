"""Tensors of the vision encoder and the projector: names, shapes, and the structure they form."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from reference.model.tensor_names import PROJECTOR, TOWER
from reference.model.vision_config import VisionConfig

CLASS = f"{TOWER}embeddings.class_embedding"
PATCH = f"{TOWER}embeddings.patch_embedding.weight"
POSITION = f"{TOWER}embeddings.position_embedding.weight"


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """Parameters of y = W x + b, or of a norm, y = w · x + b."""

    weight: Float[np.ndarray, "..."]
    bias: Float[np.ndarray, "out"] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class VisionLayer:
    """One block of the encoder. G is the hidden size of its MLP."""

    layer_norm1: Affine  # (C,)
    q_proj: Affine  # (C, C)
    k_proj: Affine
    v_proj: Affine
    out_proj: Affine
    layer_norm2: Affine  # (C,)
    fc1: Affine  # (G, C)
    fc2: Affine  # (C, G)


@dataclass(frozen=True, kw_only=True, eq=False)
class VisionWeights:
    """Weights of the vision encoder and the projector. layers: the computed ones only."""

    class_embedding: Float[np.ndarray, "C"]
    patch_embedding: Float[np.ndarray, "C 3 patch patch"]
    position_embedding: Float[np.ndarray, "P C"]
    pre_layernorm: Affine
    layers: tuple[VisionLayer, ...]
    linear_1: Affine  # (D, C · feature layers)
    linear_2: Affine  # (D, D)

    @classmethod
    def from_tensors(
        cls, config: VisionConfig, tensors: Mapping[str, np.ndarray]
    ) -> "VisionWeights":
        """Build the structure from the tensors of `expected_tensors`."""

        def affine(name: str) -> Affine:
            return Affine(weight=tensors[f"{name}.weight"], bias=tensors.get(f"{name}.bias"))

        def layer(prefix: str) -> VisionLayer:
            return VisionLayer(
                layer_norm1=affine(f"{prefix}.layer_norm1"),
                q_proj=affine(f"{prefix}.self_attn.q_proj"),
                k_proj=affine(f"{prefix}.self_attn.k_proj"),
                v_proj=affine(f"{prefix}.self_attn.v_proj"),
                out_proj=affine(f"{prefix}.self_attn.out_proj"),
                layer_norm2=affine(f"{prefix}.layer_norm2"),
                fc1=affine(f"{prefix}.mlp.fc1"),
                fc2=affine(f"{prefix}.mlp.fc2"),
            )

        return cls(
            class_embedding=tensors[CLASS],
            patch_embedding=tensors[PATCH],
            position_embedding=tensors[POSITION],
            pre_layernorm=affine(f"{TOWER}pre_layrnorm"),
            layers=tuple(
                layer(f"{TOWER}encoder.layers.{i}") for i in range(config.num_computed_layers)
            ),
            linear_1=affine(f"{PROJECTOR}linear_1"),
            linear_2=affine(f"{PROJECTOR}linear_2"),
        )


def expected_tensors(config: VisionConfig, D: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of every used tensor. D: hidden size of the text model.

    `pre_layrnorm` is CLIP's own spelling.
    """
    C, patch = config.hidden_size, config.patch_size
    yield CLASS, (C,)
    yield PATCH, (C, 3, patch, patch)
    yield POSITION, (config.num_patches + 1, C)
    yield from _affine(f"{TOWER}pre_layrnorm", C)
    for i in range(config.num_computed_layers):
        yield from _layer(config, i)
    bias = config.projector_bias
    yield from _affine(f"{PROJECTOR}linear_1", D, C * len(config.feature_layers), bias=bias)
    yield from _affine(f"{PROJECTOR}linear_2", D, D, bias=bias)


def unused_tensors(config: VisionConfig) -> Iterator[str]:
    """Yield the names of encoder tensors that are allowed but not used.

    They are the layers above the last feature layer, CLIP's output norm, and a buffer of old files.
    """
    yield f"{TOWER}embeddings.position_ids"
    unused_layers = range(config.num_computed_layers, config.num_hidden_layers)
    yield from (name for i in unused_layers for name, _ in _layer(config, i))
    yield from (name for name, _ in _affine(f"{TOWER}post_layernorm", config.hidden_size))


def _layer(config: VisionConfig, i: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    C, G, prefix = config.hidden_size, config.intermediate_size, f"{TOWER}encoder.layers.{i}"
    yield from _affine(f"{prefix}.layer_norm1", C)
    yield from _affine(f"{prefix}.layer_norm2", C)
    for name in "q_proj", "k_proj", "v_proj", "out_proj":
        yield from _affine(f"{prefix}.self_attn.{name}", C, C)
    yield from _affine(f"{prefix}.mlp.fc1", G, C)
    yield from _affine(f"{prefix}.mlp.fc2", C, G)


def _affine(name: str, *shape: int, bias: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]
