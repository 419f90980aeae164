"""The embedded model, made from nothing: a generator of text, a tokenizer, a small Llama, its
training.

`python -m jax_backend.training` writes `reference/embedded/text` and `docs/embedded-model.md`;
`python -m jax_backend.training.vision` gives it eyes, and writes `reference/embedded/vision`.
"""
