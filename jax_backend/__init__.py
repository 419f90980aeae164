"""The JAX engine: continuous batching over a paged KV cache, with the reference's results.

A function and the function of the same name in `reference` are twins: this one computes the same
for a whole batch. The files, in reading order:

    sampler         the order of the sampling steps, for a batch
    logits          one function per sampling parameter
    threefry        random bits and Gumbel noise
    logprobs        log-probabilities of tokens, and the top ones
    stopping        token budget and finish reason
    prefix_cache    block hashes of a prompt
    numerics/       conditional stages, fixed-order sums, top-k
    model/          the model, its attention kernels, sharding and checkpoints
    grammar/        token masks of constrained decoding
    serving/        scheduler, executor and engine
    multihost/      one model on the devices of several hosts
    launch          from a checkpoint directory to a running engine
    platform        the platform that is compiled for
    accelerators    checks that the accelerator of this machine is used
    training/       training of the embedded models
"""
