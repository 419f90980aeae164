"""Completions servers under load over HTTP, in interleaved runs.

The files, in reading order:

    __main__     the command line
    workloads    bursts, Poisson arrivals, long prompts, shared prefixes, conversations
    client       one streaming request, and the times of its events
    servers      running servers, and servers that this program starts; idle ones are stopped
    measure      rounds: throughput and latencies of each server under each workload
    report       the JSON file and the Markdown table
"""
