"""Training of the embedded models from scratch, on generated data, in reading order:

text/    A text generator, a tokenizer, a small Llama and its training.
vision/  A generator of images with captions, and the training of a vision tower and a projector.

`python -m jax_backend.training.text` writes `reference/embedded/text` and `docs/embedded-model.md`.
`python -m jax_backend.training.vision` starts from that model and writes
`reference/embedded/vision`.
"""
