"""Tests of conformance/third_party.

test_servers    the random checkpoint, and the commands that start servers
test_samplers   the programs of other samplers, and the page that compares them
"""
