"""Runs the conformance checks against third-party servers.

random_checkpoint   writes a checkpoint with flat distributions and ties
to_gguf             converts a checkpoint for llama.cpp
samplers            samplers of other engines, tested by vectors
compare             starts each server, runs the checks, and writes a comparison
"""
