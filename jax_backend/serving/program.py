"""The computations of one model, compiled: each is traced once for every shape that it gets."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
from flax import nnx
from jax.tree_util import PyTreeDef
from jaxtyping import Array, Float32, Int32

from jax_backend.logits import Logits
from jax_backend.model.attention.base import Pages
from jax_backend.model.llama import ImageEmbeddings, Llama
from jax_backend.serving import decode, prefill
from jax_backend.serving.state import BatchInputs, ChunkInputs, PromptLogprobs


class CompiledProgram(NamedTuple):
    """The functions that depend on the model. Each takes its weights, as a list, first.

    encode_images: the embeddings of each image of a batch of pixels.
    """

    encode_images: Callable[..., tuple[Array, ...]]
    prefill_chunk: Callable[..., tuple[list[Pages], PromptLogprobs | None]]
    decode_forward: Callable[..., tuple[list[Pages], Logits]]


@cache
def compiled_program(graph: nnx.GraphDef[Llama], structure: PyTreeDef) -> CompiledProgram:
    """Bind the static structure of a model once: comparing it at every call would take longer than
    launching a step.
    """

    def model(weights: list[Array]) -> Llama:
        return nnx.merge(graph, jax.tree.unflatten(structure, weights))

    @jax.jit
    def encode_images(weights: list[Array], pixels_B3SS: Float32[Array, "B 3 S S"]):
        vision = model(weights).vision
        assert vision is not None
        return tuple(vision.features(pixels_B3SS))

    @partial(jax.jit, static_argnums=4, donate_argnums=1)
    def prefill_chunk(
        weights: list[Array],
        layers: list[Pages],
        chunk: ChunkInputs,
        images: ImageEmbeddings | None,
        top: int | None,
    ):
        return prefill.prefill_chunk(model(weights), layers, chunk, images, top)

    @partial(jax.jit, donate_argnums=1)
    def decode_forward(
        weights: list[Array],
        layers: list[Pages],
        last_token: Int32[Array, "W"],
        batch: BatchInputs,
        images: ImageEmbeddings | None,
    ):
        return decode.decode_forward(model(weights), layers, last_token, batch, images)

    return CompiledProgram(encode_images, prefill_chunk, decode_forward)
