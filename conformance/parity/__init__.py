"""The reference against a backend, in one process: what both of them share, from the bits of chance
to the text that a client reads.

One file for each level, from the bottom: `randomness`, `logits`, `sampler`, `logprobs`,
`attention`, `layer`, `model`, `engine`, `text`. Each says what holds as `Property` objects, and
`properties` has them all. `strategies` makes what is asked, `tolerance` says how far two right
answers may lie apart, and `run` tries every property as often as one likes:
`python -m conformance parity`.
"""
