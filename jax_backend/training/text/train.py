"""The training loop: a fixed number of optimizer steps, reproducible from the seed, resumable."""

import pickle
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax.contrib import MuonDimensionNumbers, muon
from tqdm import tqdm

from jax_backend.training.text.corpus import documents
from jax_backend.training.text.model import (
    Shape,
    Tensors,
    initial,
    losses,
    tensor_shapes,
)

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training options: `steps` of `batch` rows of `length` tokens. save_every: in seconds."""

    shape: Shape = field(default_factory=Shape)
    seed: int = 1
    steps: int = 1500
    batch: int = 8
    length: int = 513
    peak_rate: float = 5e-3
    save_every: float = 120.0


def rows(seed: int, encode: Encode, length: int) -> Iterator[np.ndarray]:
    """Yield rows of `length` ids. A row starts with a document: BOS, text, EOS, the next document,
    … truncated at the end.
    """
    source = documents(seed)
    while True:
        row: list[int] = []
        while len(row) < length:
            row += encode(next(source).text)
        yield np.array(row[:length], dtype=np.int32)


def optimizer(
    steps: int, peak_rate: float, weight_decay: float, matrices: Collection[str]
) -> optax.GradientTransformation:
    """Return the optimizer: Muon for the named matrices, AdamW at a fifth of the rate otherwise;
    warm-up and cosine decay to a hundredth of the peak; gradients clipped to norm 1.
    """

    def rate(peak: float) -> optax.Schedule:
        return optax.warmup_cosine_decay_schedule(0.0, peak, steps // 20, steps, peak / 100)

    def by_muon(w: Tensors) -> dict[str, MuonDimensionNumbers | None]:
        return {n: MuonDimensionNumbers((1,), (0,)) if n in matrices else None for n in w}

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        muon(
            rate(peak_rate),
            adam_learning_rate=rate(peak_rate / 5),
            adam_b2=0.98,
            weight_decay=weight_decay,
            adam_weight_decay=weight_decay,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=by_muon,
        ),
    )


def train(recipe: Recipe, encode: Encode, work: Path) -> Tensors:
    """Train and return the weights. Resumes from `work`/state if it exists. Shows progress."""
    matrices = {name for name in tensor_shapes(recipe.shape) if "_proj." in name}
    tx = optimizer(recipe.steps, recipe.peak_rate, 0.05, matrices)

    @jax.jit
    def step(w: Tensors, state: Any, tokens: jax.Array) -> tuple[Tensors, Any, jax.Array]:
        loss, gradient = jax.value_and_grad(lambda w: losses(w, tokens, recipe.shape).mean())(w)
        updates, state = tx.update(gradient, state, w)
        return optax.apply_updates(w, updates), state, loss

    w = initial(recipe.shape, recipe.seed)
    done, w, state = load_state(work, recipe, (0, w, tx.init(w)))
    source = rows(recipe.seed, encode, recipe.length)
    for _ in range(done * recipe.batch):
        next(source)
    saved = time.monotonic()
    with tqdm(total=recipe.steps, initial=done, unit="step") as bar:
        for i in range(done, recipe.steps):
            w, state, loss = step(w, state, np.stack([next(source) for _ in range(recipe.batch)]))
            bar.update()
            if i % 20 == 0:
                bar.set_postfix(loss=f"{float(loss):.3f}")
            if time.monotonic() - saved > recipe.save_every:
                save_state(work, recipe, (i + 1, w, state))
                saved = time.monotonic()
    save_state(work, recipe, (recipe.steps, w, state))
    return w


def save_state(work: Path, recipe: Recipe, state: tuple[int, Tensors, Any]) -> None:
    """Save the state atomically: an interruption leaves the previous file intact."""
    work.mkdir(parents=True, exist_ok=True)
    partial = work / "state.partial"
    partial.write_bytes(pickle.dumps((recipe, jax.tree.map(np.asarray, state))))
    partial.replace(work / "state")


def load_state(
    work: Path, recipe: Recipe, fresh: tuple[int, Tensors, Any]
) -> tuple[int, Tensors, Any]:
    """Return the saved state if it has the same recipe, else the fresh one. The file was written by
    this program, so unpickling it is safe.
    """
    if not (work / "state").exists():
        return fresh
    saved_recipe, state = pickle.loads((work / "state").read_bytes())
    if saved_recipe != recipe:
        return fresh
    return jax.tree.map(
        lambda new, old: jnp.asarray(old) if hasattr(new, "shape") else old, fresh, state
    )
