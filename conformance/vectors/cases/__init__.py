"""The cases, a file for each topic.

build            helpers: cases, dialects, values that are the same on every machine
steps            mask, penalties, temperature
truncation       min_p, top_k, top_p
chain            all steps together; distributions for programs with their own random numbers
wide             all steps with large vocabularies
random_numbers   threefry, Gumbel noise, seeded draws
logprobs         reported log-probabilities, and token names
text             stop strings, finish reasons, token budgets, detokenization, tokenization
offsets          offsets of tokens in the text
grammar          texts and token masks of response formats
forward          logits of small models
requests         request bodies and statuses
"""
