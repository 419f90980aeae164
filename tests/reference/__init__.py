"""Tests of the reference.

test_params               ranges and types of the parameters
test_sampler              the order of the sampling steps, and sampling
test_logits               each sampling step
test_threefry             random bits and Gumbel noise
test_logprobs             reported log-probabilities
test_stopping             stop strings, finish reasons, token budget
test_prompt               prompts that are refused
test_output_text          text deltas and logprobs entries
test_generate             one request on the embedded model
test_engine               the engine interface
test_main                 the command line
test_docstring_examples   the examples in the docstrings of the parameters

model/      the Llama decoder, the vision encoder, checkpoints
tokenizer/  tokenizers and the detokenizer
images/     image decoding and preprocessing
grammar/    response_format
"""
