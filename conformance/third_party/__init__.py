"""Runs the conformance checks on third-party servers.

servers.toml    the servers: packages, start commands, memory limits
configuration   reads that file
processes       runs a server with a memory limit
libraries       servers for engines that are Python libraries
tokenizer_json  writes a SentencePiece model as tokenizer.json
conformance_checkpoint
                writes a checkpoint on which every check has a result
to_gguf         converts a checkpoint for llama.cpp
samplers        samplers of other engines, tested by vectors
__main__        tests each server, and writes a site of the results
"""
