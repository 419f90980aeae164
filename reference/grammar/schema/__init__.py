"""JSON Schema, draft 2020-12, compiled to a formal language.

Reading order:

    compiler       `compile_schema`: from a schema to a language
    document       JSON pointers, `$ref`, and the alternatives of `anyOf` and `oneOf`
    keywords       the supported keywords and the form of their values
    constraints    the keywords that apply to one value, combined
    strings        `minLength`, `maxLength`, `pattern`, `format`
    disjointness   whether the branches of a `oneOf` exclude each other
"""
