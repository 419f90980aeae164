"""Parity of the model, in reading order:

attention  Each platform's attention kernel over a paged KV cache.
layer      The parts of a decoder layer, and a whole layer.
llama      Logits of prompts that are prefilled in chunks.
vision     Image embeddings, and their use in a prompt.
"""
