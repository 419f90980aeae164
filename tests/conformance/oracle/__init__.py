"""Tests of conformance/oracle.

test_statistics   e-values, and the search for discriminating prompts
"""
