"""Runs the conformance checks against third-party servers.

tokenizer_json      writes a SentencePiece model as tokenizer.json
conformance_checkpoint
                    writes a checkpoint on which every check has a result
random_checkpoint   writes a random checkpoint of ordinary size
to_gguf             converts a checkpoint for llama.cpp
samplers            samplers of other engines, tested by vectors
compare             starts each server, runs the checks, and writes a comparison
"""
