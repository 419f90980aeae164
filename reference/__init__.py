"""The executable specification of a text-completions endpoint, in plain NumPy.

Reading order:

    params        the parameters: default, range, meaning, and the function that defines each one
    request       the data types of the engine interface: requests in, events out
    sampler       from logits to a token: the order of the sampling steps
    logits        the sampling steps: one pure function per parameter
    threefry      random bits and Gumbel noise as a function of seed, choice and position
    logprobs      the reported log-probabilities
    stopping      token budget, finish reasons, stop strings
    prompt        a prompt as sent by the client → token ids, or an error
    input_limits  refusal of a text that is far too long, before it is tokenized
    output_text   events of an engine → text, logprobs entries, finish reason
    prefix_cache  reuse of the KV cache blocks of earlier prompts
    generate      one request: prefill, then one decode loop per choice
    completion    one completion, from a prompt to text
    engine        the reference behind the engine interface: submit, abort, stats
    bundle        a checkpoint with its tokenizer, image processor and vocabulary
    explain       what each sampling step did to the distribution, and the draw
    __main__      the command line

    model/        the Llama decoder, the vision encoder, and checkpoint loading
    terminal/     the arguments and the tables of the command line
    tokenizer/    SentencePiece and Hugging Face tokenizers, the detokenizer
    images/       image decoding, preprocessing, and placeholder expansion
    grammar/      `response_format`: formal languages and token masks
    embedded/     the weights of two small models

Dimension key, used in shapes and in names such as `x_TD`:

    B batch    T tokens    S cache length    V vocabulary    L layers
    D model    F ffn       N heads           K KV heads      H head dim
"""
