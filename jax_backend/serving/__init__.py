"""The serving engine: scheduling on the host, execution on the device.

The files, in reading order:

    settings            compiled shapes and cache size
    plan                what one step does: requests, sequences, chunks, rows
    page_pool           allocator of KV cache pages, with the prefix cache
    fairness            tokens served to each principal
    drafting            speculative decoding: the rows of a step, and drafts
    prefill_queue       chunked prefill
    scheduler           what the next step does; preemption
    state               the arrays of a step
    prefill             the computation of a prefill chunk
    decode              the computation of a decode step: forward pass, sampling
    program             the computations, compiled for one model
    uploads             packing of plans into arrays
    images              image embeddings of the requests in flight
    executor            runs plans on the device
    batch_invariance    the batch sizes with bitwise identical results
    warmup              ahead-of-time compilation
    outputs             from arrays to events
    engine              the thread that runs all this
"""
