"""Structured output: which texts a `response_format` allows, and which tokens may come next.

Reading order:

    response_format   `compile_format`: from the request's field to a formal language
    language/         expressions over characters, regular expressions, JSON, derivatives
    schema/           JSON Schema to expressions
    token_mask        from a language to the mask of the next token (constrained decoding)
"""
