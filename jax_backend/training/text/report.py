"""The report on the trained model: held-out loss compared with the generator's entropy, and
unselected samples.
"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from sentencepiece import SentencePieceProcessor

from jax_backend.training.text.corpus import KINDS, Document, documents
from jax_backend.training.text.export import EOS
from jax_backend.training.text.model import Shape, Tensors, forward, losses
from jax_backend.training.text.train import Encode, Recipe

HELD_OUT_SEED, HELD_OUT = 2, 400
PROMPTS = [
    "Once upon a time",
    "Write a JSON record of a person.",
    "List three toys.",
    "Q: What sound does a dog make?",
    "One sunny day,",
]

TEMPLATE = Path(__file__).with_name("page.md")


@dataclass
class Score:
    """Sums over documents: predicted tokens, −log p of the model and of the generator, in nats."""

    documents: int = 0
    tokens: int = 0
    loss: float = 0.0
    entropy: float = 0.0

    def row(self, kind: str) -> str:
        """Format a row of the table."""
        loss, entropy = self.loss / self.tokens, self.entropy / self.tokens
        cells = f"{loss:.3f} | {entropy:.3f} | {loss - entropy:.3f}"
        return f"| {kind} | {self.documents} | {self.tokens} | {cells} |"


def write_report(path: Path, out: Path, recipe: Recipe, w: Tensors, encode: Encode) -> None:
    """Evaluate the model and write the page about it."""
    held_out = list(islice(documents(HELD_OUT_SEED), HELD_OUT))
    scores = score(w, recipe.shape, held_out, encode)
    texts = [
        sample(w, recipe.shape, out, encode, PROMPTS[seed % len(PROMPTS)], seed)
        for seed in range(10)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    page = TEMPLATE.read_text().format(
        parameters=sum(t.size for t in w.values()),
        tokens=recipe.steps * recipe.batch * (recipe.length - 1),
        length=recipe.length - 1,
        shape=recipe.shape,
        recipe=recipe,
        size=sum(f.stat().st_size for f in out.iterdir()) / 1e6,
        held_out=HELD_OUT,
        held_out_seed=HELD_OUT_SEED,
        rows="\n".join(scores[kind].row(kind) for kind in [*KINDS, "all"]),
        samples="\n\n".join(texts),
    )
    path.write_text(page)


def score(w: Tensors, shape: Shape, held_out: list[Document], encode: Encode) -> dict[str, Score]:
    """Compute loss and entropy for each kind of document, and for all of them."""
    measure = jax.jit(partial(losses, s=shape))
    scores = {kind: Score() for kind in [*KINDS, "all"]}
    for document in held_out:
        ids = encode(document.text)
        padded = np.full((1, shape.context + 1), EOS, dtype=np.int32)
        padded[0, : len(ids)] = ids
        loss = float(measure(w, padded)[0, : len(ids) - 1].sum())
        for s in scores[document.kind], scores["all"]:
            s.documents += 1
            s.tokens += len(ids) - 1
            s.loss += loss
            s.entropy += document.bits * math.log(2)
    return scores


def sample(
    w: Tensors, shape: Shape, out: Path, encode: Encode, prompt: str, seed: int, count: int = 120
) -> str:
    """Sample a text at temperature 0.8, without truncation, and format it as Markdown."""
    step = jax.jit(partial(forward, s=shape))
    ids = encode(prompt)[:-1]
    start = len(ids)
    for i in range(count):
        padded = np.full((1, shape.context), EOS, dtype=np.int32)
        padded[0, : len(ids)] = ids
        logits = step(w, padded)[0, len(ids) - 1]
        key = jax.random.fold_in(jax.random.key(seed), i)
        token = int(jax.random.categorical(key, jnp.asarray(logits) / 0.8))
        if token == EOS:
            break
        ids.append(token)
    processor = SentencePieceProcessor(model_file=str(out / "tokenizer.model"))
    text = processor.decode(ids)
    return f"{seed}. **{prompt}**" + text[len(processor.decode(ids[:start])) :].replace(
        "\n", "<br>"
    )
