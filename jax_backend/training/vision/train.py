"""Training: the language model goes on from what it is, and learns to speak of what it sees. A
fixed number of optimiser steps, the same for the same seed, resumable.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from tqdm import tqdm

from jax_backend.training.text import train as text
from jax_backend.training.text.chance import Chance
from jax_backend.training.text.model import BOS, EOS, Tensors
from jax_backend.training.text.model import losses as text_losses
from jax_backend.training.text.train import Encode, load_state, optimizer, save_state
from jax_backend.training.vision.drawing import picture
from jax_backend.training.vision.model import (
    VisionShape,
    initial,
    losses,
    tensor_shapes,
)
from jax_backend.training.vision.scenes import (
    HOW_MANY,
    QUESTION,
    Scene,
    caption,
    how_many,
    question,
)
from reference.images.preprocessor import Preprocessor

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """steps of `batch` pictures, and of one row of `length` tokens of text, which counts `remember`
    times as much. answer: the most tokens of a question and its answer. save_every: seconds.
    """

    shape: VisionShape = field(default_factory=VisionShape)
    seed: int = 1
    steps: int = 2500
    batch: int = 48
    answer: int = 52
    length: int = 257
    remember: float = 0.1
    peak_rate: float = 5e-3
    save_every: float = 120.0


def preprocessor(shape: VisionShape) -> dict[str, Any]:
    """What the model's preprocessor_config.json says: CLIP's own way, at this size."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": shape.image},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": shape.image, "width": shape.image},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
    }


def asked(what: Scene, chance: Chance) -> tuple[str, str]:
    """A question about a picture, and its answer: mostly, what is in it."""
    if chance.happens(0.85):
        return question(QUESTION), f" {caption(what)}"
    return question(HOW_MANY), f" {how_many(what)}"


def batches(recipe: Recipe, encode: Encode) -> Iterator[Batch]:
    """(pixels, tokens, which of them are an answer), without end. encode: of a text that goes on
    from another.
    """
    shape, prepare = recipe.shape, Preprocessor.from_json(preprocessor(recipe.shape))
    index = 0
    while True:
        pixels = np.empty((recipe.batch, 3, shape.image, shape.image), np.float32)
        tokens = np.full((recipe.batch, recipe.answer), EOS, np.int32)
        answer = np.zeros((recipe.batch, recipe.answer), np.float32)
        for i in range(recipe.batch):
            drawn, what = picture(recipe.seed, index)
            asking, answering = asked(what, Chance(recipe.seed * 2**32 + index))
            before = [BOS, shape.image_token, *encode(asking.removeprefix("<image>"))]
            ids = [*before, *encode(answering), EOS]
            pixels[i] = prepare.pixels(drawn)
            tokens[i, : len(ids)] = ids
            answer[i, len(before) : len(ids)] = 1
            index += 1
        yield pixels, tokens, answer


def train(recipe: Recipe, start: Tensors, encode: Encode, document: Encode, work: Path) -> Tensors:
    """The trained weights. start: a language model's. document: BOS, a text, EOS. Goes on from
    `work`/state if it is there; shows a progress bar.
    """
    shape = recipe.shape
    sizes = tensor_shapes(shape).items()
    matrices = {name for name, size in sizes if len(size) == 2 and "embed" not in name}
    tx = optimizer(recipe.steps, recipe.peak_rate, 0.01, matrices)

    @jax.jit
    def step(
        w: Tensors, state: Any, batch: Batch, story: np.ndarray
    ) -> tuple[Tensors, Any, jax.Array]:
        pixels, tokens, answer = batch

        def loss(w: Tensors) -> tuple[jax.Array, jax.Array]:
            seen = losses(w, pixels, tokens, answer, shape).sum() / answer.sum()
            read = text_losses(w, story[None], shape.text).mean()
            return seen + recipe.remember * read, seen

        (_, seen), gradient = jax.value_and_grad(loss, has_aux=True)(w)
        updates, state = tx.update(gradient, state, w)
        return optax.apply_updates(w, updates), state, seen

    w = initial(shape, recipe.seed, start)
    done, w, state = load_state(work, recipe, (0, w, tx.init(w)))
    pictures, stories = batches(recipe, encode), text.rows(recipe.seed, document, recipe.length)
    for _ in range(done):
        next(pictures), next(stories)
    saved = time.monotonic()
    with tqdm(total=recipe.steps, initial=done, unit="step") as bar:
        for i in range(done, recipe.steps):
            w, state, loss = step(w, state, next(pictures), next(stories))
            bar.update()
            if i % 20 == 0:
                bar.set_postfix(loss=f"{float(loss):.4f}")
            if time.monotonic() - saved > recipe.save_every:
                save_state(work, recipe, (i + 1, w, state))
                saved = time.monotonic()
    save_state(work, recipe, (recipe.steps, w, state))
    return w
