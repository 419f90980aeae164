"""The machinery of the parity tests, in reading order:

property        `Property` and `EngineProperty`, and the coverage that is counted during a run.
strategies      Examples for the functions of the sampler, biased towards edge cases.
requests        Examples of whole requests; sending them to an engine and collecting events.
tolerance       How much two correct results may differ.
agreement       Whether the reference could have produced an engine's output.
invariance      Whether an output is bitwise identical under concurrency, caching and preemption.
random_tensors  The tensors of small random models.
twins           Small random models, loaded by the reference and by the JAX backend.
compiled        Compilation of a function once per shape.
backends        The backends under test.
"""
