"""Assertions about servers; each raises an Outcome with the exchange that shows the problem.

basic               values, statuses, errors, equal completions
next_token          the distribution of one token, and samples that must follow it
token_boundaries    a greedy text, and where each of its tokens ends
greedy_penalties    greedy tokens under a penalty, derived from the server's own logprobs
output_penalties    assertions that frequency_penalty and presence_penalty share
logprobs            reported log-probabilities, compared with others
context             requests that fill the context
prefix_cache        requests that probe the prefix cache
streaming           a stream compared with the same request without `stream`
response_format     texts that a `response_format` constrains
images              log-probabilities of prompts with images
special_tokens      prompts that contain special tokens
end_of_sequence     texts that end by themselves; texts and seeds computed by the reference
"""
