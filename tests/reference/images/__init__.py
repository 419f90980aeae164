"""Tests of `reference/images`.

Reading order:

    test_data_uri       every legal spelling of a `data:` URI
    test_decoding       `data:` URIs and image files
    test_preprocessor   pixels, compared with transformers
    test_placement      expansion of placeholders
"""
