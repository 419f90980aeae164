"""The computations of one model, compiled: each is traced once for every shape that it gets."""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
from flax import nnx
from jax.tree_util import PyTreeDef
from jaxtyping import Array, Float, Float32, Int32

from jax_backend.logits import Logits
from jax_backend.model.attention.base import Pages
from jax_backend.model.llama import ImageEmbeddings, Llama
from jax_backend.serving import decode, prefill
from jax_backend.serving.state import BatchInputs, PromptLogprobs, SegmentInputs


class LaunchImages(NamedTuple):
    """The image embeddings of the decode batch and of the segments of a launch."""

    batch: ImageEmbeddings | None = None
    segments: ImageEmbeddings | None = None


class CompiledProgram(NamedTuple):
    """The functions that depend on the model. Each takes its weights, as a list, first.

    encode_images: the embeddings of each image of a batch of pixels. forward: the pages, the logits
    of each row of the batch, and the hidden states of the segments. prompt_logprobs: from hidden
    states.
    """

    encode_images: Callable[..., tuple[Array, ...]]
    forward: Callable[..., tuple[list[Pages], Logits | None, Float[Array, "G T D"] | None]]
    prompt_logprobs: Callable[..., PromptLogprobs]


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

    @partial(jax.jit, donate_argnums=1)
    def forward(
        weights: list[Array],
        layers: list[Pages],
        last_token: Int32[Array, "W"],
        batch: BatchInputs | None,
        segments: SegmentInputs | None,
        images: LaunchImages,
    ):
        llama, groups = model(weights), []
        if batch is not None:
            groups.append(decode.decode_blocks(last_token, batch, images.batch))
        if segments is not None:
            groups.append(prefill.segment_blocks(segments, images.segments))
        hidden, layers = llama.hidden_states(groups, layers)
        block = llama.block_of([group.token.shape[1] for group in groups], len(hidden[0]))
        logits = None if batch is None else llama.logits(hidden[0][:, 0], block)
        return layers, logits, None if segments is None else hidden[-1]

    @partial(jax.jit, static_argnums=3)
    def prompt_logprobs(
        weights: list[Array],
        x_GTD: Float[Array, "G T D"],
        next_token: Int32[Array, "G T"],
        top: int,
    ):
        return prefill.prompt_logprobs(model(weights), x_GTD, next_token, top)

    return CompiledProgram(encode_images, forward, prompt_logprobs)
