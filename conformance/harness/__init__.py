"""Registers checks, runs them, and records the results.

once            caches a probe of a server for the whole run
capabilities    optional features of a server that checks need
registry        the checks by id; check files register themselves in groups
causes          reasons that several checks share: a parameter is refused, or ignored
liveness        the end of a run whose server is gone
runner          runs checks and turns exceptions into verdicts
result          results and reports as data
"""
