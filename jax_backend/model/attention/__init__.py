"""Attention over a paged KV cache, in reading order:

base     The interface, the KV pages and the padding helper.
cpu      Plain JAX: page by page with an online softmax.
splits   Splits of the context, for kernels on a GPU.
triton   A Pallas kernel for a GPU, compiled by Triton: flash decoding.
mosaic   A Pallas kernel for a Hopper GPU, compiled by Mosaic GPU.
xla      Plain JAX for any GPU: large blocks of pages with an online softmax.
tpu      JAX's ragged paged attention kernel.
select   `for_platform`, which picks one of them.
"""
