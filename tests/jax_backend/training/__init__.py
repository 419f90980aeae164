"""Tests of the training of the embedded models.

test_training  Text generator, tokenizer, training, export.
"""
