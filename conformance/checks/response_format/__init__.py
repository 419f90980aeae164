"""response_format: the JSON object, schema or regular expression that the text must match.

validation   formats that are refused, and formats that are hard to compile
structure    texts are valid: JSON objects, instances of schemas, matches
completion   the end of a constrained text, and every choice
sampling     log-probabilities and draws under a token mask
"""
