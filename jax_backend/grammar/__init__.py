"""Constrained decoding with llguidance.

In reading order:

    token_mask   compiles grammars, follows outputs, and fills the masks of a batch
    lark         writes a formal language in llguidance's grammar syntax
"""
