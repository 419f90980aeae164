"""Parity tests: a backend against the reference in one process, from random bits to output text.

Each file states the properties of one level, as `Property` objects, in the order of a request:

threefry           Random bits and Gumbel noise.
logits             Each step of the sampler on its own.
sampler            All steps together, and the sampled token.
logprobs           Reported log-probabilities and their ranking.
stopping           Token budget and finish reason.
prefix_cache       Block hashes: the prefixes that requests share.
grammar            Token masks of constrained decoding.
format_strategies  Random response formats and vocabularies.
pattern_strategies Random regular expressions.
model/             Attention, decoder layer, whole model, vision tower.
engine             Whole requests: same result as the reference, same bits under every load.
output_text        The text and log-probabilities that a client receives.
harness/           Property objects, example strategies, tolerances, and the backends.
properties         The list of all properties.
runner             Running properties from the command line.

`python -m conformance parity` checks all of them, on any number of examples.
"""
