"""One process for each engine, so that none is in another's way. Those of peers run in environments
of their own and import nothing of this project.

A line of JSON on standard input is a question: {"name": "decode", "streams": 8, "prompt": 32,
"tokens": 64} or {"name": "prefill", "prompt": 512}; this engine knows a few more. The answer is a
line with tokens per second. The first line that a worker writes says that it is ready, and what it
is.
"""
