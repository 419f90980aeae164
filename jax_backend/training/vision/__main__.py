"""Train the embedded vision-language model, starting from the embedded language model."""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file
from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

from jax_backend.training.text.__main__ import ROOT, encoder
from jax_backend.training.text.corpus import documents
from jax_backend.training.text.model import Tensors
from jax_backend.training.text.report import HELD_OUT, HELD_OUT_SEED, score
from jax_backend.training.text.train import Encode
from jax_backend.training.vision.export import export
from jax_backend.training.vision.train import Recipe, train


def main() -> None:
    parser = argparse.ArgumentParser("python -m jax_backend.training.vision", description=__doc__)
    parser.add_argument("--text", type=Path, default=ROOT / "reference/embedded/text")
    parser.add_argument("--out", type=Path, default=ROOT / "reference/embedded/vision")
    parser.add_argument("--work", type=Path, default=ROOT / "build/embedded-vision", help="resumed")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")  # the same model on every machine

    recipe = replace(Recipe(), steps=options.steps, seed=options.seed)
    tokenizer = (options.text / "tokenizer.model").read_bytes()
    encode_document, encode = encoder(tokenizer), continuation_encoder(tokenizer)
    weights = train(recipe, language_model(options.text), encode, encode_document, options.work)
    export(options.out, recipe.shape, weights, options.text)
    held_out = list(islice(documents(HELD_OUT_SEED), HELD_OUT))
    for kind, result in score(weights, recipe.shape.text, held_out, encode_document).items():
        print(result.row(kind))


def language_model(directory: Path) -> Tensors:
    """Load the weights of the language model as float32."""
    stored = load_file(directory / "model.safetensors")
    return {name: jnp.asarray(tensor.astype(np.float32)) for name, tensor in stored.items()}


def continuation_encoder(tokenizer: bytes) -> Encode:
    """Return a function that encodes text within a document, without a space before it."""
    model = sentencepiece_model.ModelProto.FromString(tokenizer)
    model.normalizer_spec.add_dummy_prefix = False
    processor = SentencePieceProcessor(model_proto=model.SerializeToString())
    return lambda text: list(processor.encode(text))


if __name__ == "__main__":
    main()
