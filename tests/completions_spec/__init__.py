"""Tests of the command `completions-spec`.

test_commands  subcommands, lazy imports, foreign packages of the same names
test_wheel     an installed wheel next to a foreign package `api` (`make lanes`)
"""
