"""Train the embedded language model: tokenizer, training, export, report."""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

import jax
from sentencepiece import SentencePieceProcessor

from jax_backend.training.text.corpus import documents
from jax_backend.training.text.export import BOS, EOS, export
from jax_backend.training.text.report import write_report
from jax_backend.training.text.tokenizer import train_tokenizer
from jax_backend.training.text.train import Encode, Recipe, train

ROOT = Path(__file__).parents[3]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m jax_backend.training.text", description=__doc__
    )
    parser.add_argument("--out", type=Path, default=ROOT / "reference/embedded/text")
    parser.add_argument("--report", type=Path, default=ROOT / "docs/embedded-model.md")
    parser.add_argument("--work", type=Path, default=ROOT / "build/embedded", help="resumed from")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")  # the same model on every machine

    recipe = replace(Recipe(), steps=options.steps, seed=options.seed)
    texts = (d.text for d in islice(documents(recipe.seed), 4000))
    tokenizer = train_tokenizer(texts, recipe.shape.vocab_size)
    encode = encoder(tokenizer)
    weights = train(recipe, encode, options.work)
    export(options.out, recipe.shape, weights, tokenizer)
    write_report(options.report, options.out, recipe, weights, encode)


def encoder(tokenizer: bytes) -> Encode:
    """Return a function that encodes a document as BOS, its text, EOS."""
    processor = SentencePieceProcessor(model_proto=tokenizer)
    return lambda text: [BOS, *processor.encode(text), EOS]


if __name__ == "__main__":
    main()
