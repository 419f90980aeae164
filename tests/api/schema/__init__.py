"""Tests of the JSON bodies.

test_integers  integers written as floats: 2.0, 2e0
"""
