"""The requirements of a completions server: one file or package for each parameter or topic.

Checks are black-box: they use HTTP only. In the order of the contract:

    generated                   type, range, default, null: the checks made from the parameter table
    response                    the shape of a response
    model                       which of the served models answers
    models                      the list of the served models
    prompt                      text and token ids, one prompt or several
    max_tokens                  the limit of tokens
    temperature                 division of the logits; greedy choices
    top_p                       nucleus of the distribution
    min_p                       threshold relative to the most probable token
    top_k                       the k largest logits
    n                           several choices
    stream                      server-sent events
    logprobs                    log-probabilities of the output
    echo                        the prompt and its log-probabilities
    stop                        stop strings
    stop_token_ids              stop tokens
    presence_penalty            penalty of output tokens, once each
    frequency_penalty           penalty of output tokens, once per occurrence
    repetition_penalty          penalty of tokens in the prompt or the output
    response_format             structured output
    user                        no effect on the answer
    seed                        reproducible draws
    stream_options              usage in a stream
    return_tokens_as_token_ids  names of tokens in logprobs
    prompt_cache_key            prefix caching
    data                        images
    sampler                     all steps of the sampler together
    text                        detokenization
    usage                       token counts
    determinism                 repeatability and batch invariance
    unknown_fields              fields that are not in the contract
    errors                      invalid requests
    auth                        API keys
"""
