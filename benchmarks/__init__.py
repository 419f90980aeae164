"""Benchmarks: ratios to other engines, to a hand-written loop and to the roofline, in one run.

The files, in reading order:

    __main__           this engine compared with llama.cpp and transformers
    workers/           one process per engine
    shapes             models of real shapes with random weights
    checkpoint         the same as a checkpoint directory
    loading            time and memory of loading one device's shards
    roofline           memory bandwidth and arithmetic throughput of this machine
    decoding           this engine compared with `decode_baseline`
    decode_baseline    a hand-written JAX decode loop
    steps              the parts of a decode step
    inflated           the embedded model at the cost of a larger one
    speculation        drafts compared with no drafts, on an inflated model
    http               completions servers under load
    host_overhead      CPU time per token of scheduling and of the endpoint
    large_response     latency of /health during a large response
    operation          a server under load: soak, overload, fairness
    cross_compilation  large models compiled ahead of time for devices that are not present
    tpu                … for TPUs: docs/tpu.md
    gpu                … for GPUs: docs/gpu.md
    plot               throughput against the number of streams

Results are in results.md; what was tried, in notes.md.
"""
