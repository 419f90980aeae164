"""Capacity planning: how many replicas hold a load within a target of latency. Plain Python.

    python -m benchmarks.capacity --arrivals FILE --ttft-p99 2
    python -m benchmarks.capacity --rate 40 --ttft-p99 2 --json OUT

The files, in reading order:

    costs       the time of a step of one replica
    arrivals    recorded and random requests
    replica     the engine's scheduler, with simulated seconds
    cluster     replicas behind a router
    plan        the smallest number of replicas
"""
