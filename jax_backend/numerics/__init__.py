"""Building blocks of the numeric code, in reading order:

reductions   Sums in a fixed order, so that the bits of a row do not depend on the batch size.
top_k        The k largest of many numbers, from a single pass over all of them.
branches     Conditional stages: work that is skipped unless some row of a batch needs it.
"""
