"""Tests of conformance/third_party.

test_checkpoint the conformance checkpoint
test_gguf       its conversion for llama.cpp
test_servers    the configuration of the servers, their processes, the command that tests all
test_libraries  the server for engines that are libraries
test_samplers   the programs of other samplers, and the page that compares them
"""
