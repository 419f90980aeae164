"""Tests of the model, in reading order:

test_attention   Attention of each platform.
test_llama       Logits against transformers.
test_checkpoint  Loading, for one device and for several.
test_vision      Image inputs.
test_sharding    Tensor parallelism.
"""
