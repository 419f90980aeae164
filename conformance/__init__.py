"""Conformance checks for any completions server, and parity tests of a backend with the reference.

verdicts      verdicts, and the exceptions with which a check reports them
http          the client of a server under test
harness       registers checks, runs them, records results
fixtures      prompts, images and texts that checks use
oracle        expected results, computed by the reference with the server's weights
assertions    assertions that checks share
checks        the checks, a file or package for each parameter
vectors       test vectors for samplers without a server
reports       terminal, HTML, Markdown and JUnit output
cli           the commands
parity        property tests of a backend against the reference, in one process
third_party   starts third-party servers, and writes the checkpoint that they serve
__main__      python -m conformance
"""
