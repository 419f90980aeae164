"""The command line.

arguments      the argument parser
inputs         options turned into checks, a target, files; CannotRun
expectations   the file of known deviations
progress       the progress bar, and Ctrl-C
commands       run, list, explain, compare, checkpoint, parity
"""
