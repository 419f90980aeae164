"""Sets of texts, as data: what a `response_format` accepts.

`expressions` has the parts; `regex`, `json_text`, `numbers`, `formats` and `schema` put them
together; `derivatives` tells whether a text is in the set.
"""
