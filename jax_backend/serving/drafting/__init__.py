"""Speculative decoding: guesses of the next tokens, which a step verifies all at once.

The noise of a sample depends on (seed, choice, position, token id) only, so a row samples the same
token whether its input is a draft or not: no draft can change an output. Plain Python, in reading
order:

    lookup    guesses from the tokens that followed the same ones before
    policy    how many draft tokens are worth their rows
    drafter   drafts by lookup, for all running sequences
"""
