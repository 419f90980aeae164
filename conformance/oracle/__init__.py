"""Expected results, computed by the reference with the server's weights.

statistics          sequential tests with e-values
dialects            known deviations of other engines, each by its name
reference_oracle    the oracle itself: steps, distributions and texts of the reference
prompt_search       prompts and parameters that distinguish the specification from deviations
sampling            samples from a server
judging             samples tested against the expected distribution, and explained by dialects
evalues             a sequential test of all sampling steps together
seeded_draws        seeded draws compared with the reference's Gumbel noise
greedy_paths        greedy completions compared with the reference, step by step
"""
