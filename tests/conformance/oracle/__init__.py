"""Tests of conformance/oracle.

test_judging      texts of samples
test_statistics   e-values, and the search for discriminating prompts
"""
