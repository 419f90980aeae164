"""Tests of `reference/grammar`.

Reading order:

    test_regex               regular expressions and formats
    test_json_grammar        JSON texts
    test_numbers             bounded numbers
    test_multiples           multiples of a number
    test_members             members of objects, and arrays of different items
    test_work_budget         the bound on the work of compiling a format
    test_schema              the corpus of formats, and JSON Schema
    test_token_mask          token masks
    test_structured_output   random outputs for random formats
"""
