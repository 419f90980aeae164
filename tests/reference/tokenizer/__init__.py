"""Tests of `reference/tokenizer`.

Reading order:

    test_tokenizer   encoding and decoding, for both kinds of tokenizer file
"""
