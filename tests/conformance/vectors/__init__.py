"""Tests of `conformance/vectors` and of the files in `vectors/`.

test_files          the files are those of the generator, and valid
test_reference      the reference answers every case
test_wrong_twins    wrong implementations, each with a family that detects it
jax_answers         the JAX backend as an implementation
test_jax            the JAX backend answers every case that it computes itself
test_comparing      answers compared with cases
test_samples        sampled tokens
test_program        programs that fail
test_commands       the command line
test_requests       the statuses of this endpoint
test_examples       the programs in examples/vectors
"""
