"""The training loop: image captioning, starting from the language model and mixed with its text. A
fixed number of optimizer steps, reproducible from the seed, resumable.
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
from jax_backend.training.text.model import BOS, EOS, Tensors
from jax_backend.training.text.model import losses as text_losses
from jax_backend.training.text.random_source import RandomSource
from jax_backend.training.text.train import Encode, load_state, optimizer, save_state
from jax_backend.training.vision.drawing import image
from jax_backend.training.vision.model import (
    VisionShape,
    initial,
    losses,
    tensor_shapes,
)
from jax_backend.training.vision.scenes import (
    COUNT_QUESTION,
    QUESTION,
    Scene,
    caption,
    count_answer,
    question,
)
from reference.images.preprocessor import Preprocessor

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training options: `steps` of `batch` images, and of a row of `length` tokens of text whose
    loss has the weight `text_weight`. max_tokens: of a question with its answer. save_every: in
    seconds.
    """

    shape: VisionShape = field(default_factory=VisionShape)
    seed: int = 1
    steps: int = 2500
    batch: int = 48
    max_tokens: int = 52
    length: int = 257
    text_weight: float = 0.1
    peak_rate: float = 5e-3
    save_every: float = 120.0


def preprocessor(shape: VisionShape) -> dict[str, Any]:
    """Return preprocessor_config.json: CLIP's preprocessing at the model's image size."""
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


def question_and_answer(drawn: Scene, rng: RandomSource) -> tuple[str, str]:
    """Return a question about an image and its answer, mostly the caption."""
    if rng.happens(0.85):
        return question(QUESTION), f" {caption(drawn)}"
    return question(COUNT_QUESTION), f" {count_answer(drawn)}"


def batches(recipe: Recipe, encode: Encode) -> Iterator[Batch]:
    """Yield batches without end: pixels, tokens, and a mask of the answer's tokens. encode: encodes
    text in the middle of a document.
    """
    shape, preprocess = recipe.shape, Preprocessor.from_json(preprocessor(recipe.shape))
    index = 0
    while True:
        pixels = np.empty((recipe.batch, 3, shape.image, shape.image), np.float32)
        tokens = np.full((recipe.batch, recipe.max_tokens), EOS, np.int32)
        answer = np.zeros((recipe.batch, recipe.max_tokens), np.float32)
        for i in range(recipe.batch):
            drawing, drawn = image(recipe.seed, index)
            rng = RandomSource(recipe.seed * 2**32 + index)
            prompt, text = question_and_answer(drawn, rng)
            prompt_ids = [BOS, shape.image_token, *encode(prompt.removeprefix("<image>"))]
            ids = [*prompt_ids, *encode(text), EOS]
            pixels[i] = preprocess.pixels(drawing)
            tokens[i, : len(ids)] = ids
            answer[i, len(prompt_ids) : len(ids)] = 1
            index += 1
        yield pixels, tokens, answer


def train(
    recipe: Recipe, start: Tensors, encode: Encode, encode_document: Encode, work: Path
) -> Tensors:
    """Train and return the weights. start: those of the language model. encode_document: see
    `training.text.__main__.encoder`. Resumes from `work`/state if it exists; shows a progress bar.
    """
    shape = recipe.shape
    sizes = tensor_shapes(shape).items()
    matrices = {name for name, size in sizes if len(size) == 2 and "embed" not in name}
    tx = optimizer(recipe.steps, recipe.peak_rate, 0.01, matrices)

    @jax.jit
    def step(
        w: Tensors, state: Any, batch: Batch, text_row: np.ndarray
    ) -> tuple[Tensors, Any, jax.Array]:
        pixels, tokens, answer = batch

        def loss(w: Tensors) -> tuple[jax.Array, jax.Array]:
            image_loss = losses(w, pixels, tokens, answer, shape).sum() / answer.sum()
            text_loss = text_losses(w, text_row[None], shape.text).mean()
            return image_loss + recipe.text_weight * text_loss, image_loss

        (_, image_loss), gradient = jax.value_and_grad(loss, has_aux=True)(w)
        updates, state = tx.update(gradient, state, w)
        return optax.apply_updates(w, updates), state, image_loss

    w = initial(shape, recipe.seed, start)
    done, w, state = load_state(work, recipe, (0, w, tx.init(w)))
    images, rows = batches(recipe, encode), text.rows(recipe.seed, encode_document, recipe.length)
    for _ in range(done):
        next(images), next(rows)
    saved = time.monotonic()
    with tqdm(total=recipe.steps, initial=done, unit="step") as bar:
        for i in range(done, recipe.steps):
            w, state, loss = step(w, state, next(images), next(rows))
            bar.update()
            if i % 20 == 0:
                bar.set_postfix(loss=f"{float(loss):.4f}")
            if time.monotonic() - saved > recipe.save_every:
                save_state(work, recipe, (i + 1, w, state))
                saved = time.monotonic()
    save_state(work, recipe, (recipe.steps, w, state))
    return w
