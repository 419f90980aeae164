"""Tests of the JAX backend, in reading order:

test_parity       Every parity property, and unit tests of the numeric code.
test_wrong_twins  Mutants of the backend, which the parity properties must kill.
test_parity_run   Parity runs from the command line.
properties        Helpers that check a property.
model/            Attention, the Llama model, sharding, vision.
grammar/          Token masks and constrained decoding.
serving/          Scheduler, page pool, engine, launch.
training/         Training of the embedded models.
conftest          Engines shared by the tests.
"""
