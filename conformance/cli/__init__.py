"""The command line.

arguments      the argument parser
inputs         options turned into checks, a target, files; CannotRun
expectations   the file of known deviations
progress       the progress bar, and Ctrl-C
screen         the terminal, or a pipe
vectors        vectors export, check, judge
publishing     site, badge
commands       run, list, explain, compare, checkpoint, parity, and the table of all
"""
