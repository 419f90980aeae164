"""The reference against a backend, in one process: the same requests to both.

`requests` makes them, `agreement` says whether the reference could have answered so, and
`circumstances` whether a backend answers the same whatever else goes on. `python -m conformance
parity` runs them over as many requests as one likes.
"""
