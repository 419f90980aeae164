"""Tests of conformance/third_party.

test_servers   the random checkpoint, and the commands that start servers
"""
