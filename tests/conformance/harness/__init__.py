"""Tests of conformance/harness.

test_registry   the registered checks, and their selection by globs
test_runner     running checks: any behavior of a server becomes a result
"""
