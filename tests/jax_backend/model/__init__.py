"""Tests of the model, in reading order:

test_attention  Attention of each platform.
test_llama      Logits against transformers, and loading.
test_vision     Image inputs.
test_sharding   Tensor parallelism.
"""
