"""The serving engine: scheduling on the host, execution on the device.

The files, in reading order:

    settings            compiled shapes and cache size
    scheduling/         what the next step does; pages, prefix cache, packed prefill, preemption
    drafting/           speculative decoding: drafts, and how long they are
    state               the arrays of a step
    prefill             the computation of prefill segments
    decode              the computation of a decode step: forward pass, sampling
    program             the computations, compiled for one model
    pending_grammars    grammars that are being compiled
    changes             changes of the set of requests, turn by turn
    uploads             packing of plans into arrays
    grammar_states      grammar states of the sequences in flight
    images              image embeddings of the requests in flight
    executor            runs plans on the device
    batch_invariance    the launches with bitwise identical results
    warmup              ahead-of-time compilation
    outputs             from arrays to events
    engine              the thread that runs all this
"""
