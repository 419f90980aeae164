"""One process for each engine, so that none disturbs another. The workers of peers run in
environments of their own and import nothing of this project but `protocol`, as a plain module.

The files, in reading order:

    protocol               measurements and results over standard input and output
    jax_worker             this engine
    llama_cpp_worker       llama.cpp
    transformers_worker    transformers, eager or compiled

A line of JSON on standard input requests a measurement: {"name": "decode", "streams": 8, "prompt":
32, "tokens": 64} or {"name": "prefill", "prompt": 512}; this engine has a few more. The result is a
line with tokens per second. The first line of a worker says that it is ready, and describes it.
"""
