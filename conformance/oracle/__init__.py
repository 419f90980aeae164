"""Expected results, computed by the reference with the server's weights.

statistics          sequential tests with e-values
dialects            known deviations of other engines, each by its name
token_names         the strings that a server writes for tokens
reference_oracle    the oracle itself: steps, distributions and texts of the reference
reference_text      the text of an output, detokenized by the reference
sampling            samples from a server
reported_rows       steps with the log-probabilities that the server reports
prompt_search       prompts and parameters that distinguish the specification from deviations
judging             samples tested against the expected distribution, and explained by dialects
evalues             a sequential test of all sampling steps together
seeded_draws        seeded draws compared with the reference's Gumbel noise
greedy_paths        greedy completions compared with the reference, step by step
preflight           whether a server has the weights of the checkpoint, and how exact it is
"""
