"""Formal languages: sets of texts, as data.

Reading order:

    char_ranges    sets of characters, as ranges of code points
    nodes          the syntax tree of a language
    expressions    the functions that build it, and `Language`: an expression with named rules
    derivatives    membership and prefix tests, byte by byte (Brzozowski derivatives)
    work_budget    a bound on the work of compiling a format
    utf8           the derivatives of single characters
    pruning        removal of rules and branches that no text uses
    regex          regular expressions
    formats        `format` of JSON Schema
    json_grammar   JSON texts
    numbers        JSON numbers between bounds
    errors         errors for a `response_format`
"""
