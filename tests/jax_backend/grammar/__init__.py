"""Tests of `jax_backend/grammar`.

In reading order:

    test_token_mask          errors, concurrency, and masks of a batch
    test_lark                long and deeply nested grammars
    test_structured_output   random outputs of the engine for random formats
"""
