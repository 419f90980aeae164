"""Tests of conformance/cli.

conftest            a conforming and a clamping server
test_expectations   the file of known deviations
test_inputs         unusable options, values and URLs
test_commands       output, files and exit status
"""
