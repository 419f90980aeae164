"""Attention over a paged KV cache, in reading order:

base     The interface, the KV pages and the padding helper.
cpu      Plain JAX: page by page with an online softmax.
gpu      A Pallas kernel for Triton: flash decoding with splits of the context.
tpu      JAX's ragged paged attention kernel.
select   `for_platform`, which picks one of them.
"""
