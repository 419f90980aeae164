"""Parity of the model, in reading order:

attention     Each platform's attention kernel over a paged KV cache.
quantization  Rounding to int8 and fp8, and quantized linear layers.
layer         The parts of a decoder layer, and a whole layer.
llama         Logits of prompts that are prefilled in chunks.
vision        Image embeddings, and their use in a prompt.
"""
