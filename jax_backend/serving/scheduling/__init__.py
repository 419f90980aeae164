"""Scheduling, in plain Python: no device arrays.

The files, in reading order:

    plan            what one step does: requests, sequences, segments, rows
    page_pool       allocator of KV cache pages, with the prefix cache
    page_sharing    pages of a prompt for its sequences, and of output for later prompts
    fairness        tokens served to each principal
    prefill_queue   packed prefill: the segments of a launch
    launches        which launches a step has, and their sizes
    rows            the rows of a decode step, with those of drafts
    scheduler       what the next step does; preemption
"""
