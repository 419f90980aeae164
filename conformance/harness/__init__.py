"""Registers checks, runs them, and records the results.

once            caches a probe of a server for the whole run
capabilities    optional features of a server that checks need
registry        the checks by id; check files register themselves in groups
runner          runs checks and turns exceptions into verdicts
result          results and reports as data
"""
