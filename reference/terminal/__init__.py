"""The command line: its arguments and its output.

arguments   one option for each parameter
tables      `--explain`: the steps and the draw of a token; the log-probabilities
"""
