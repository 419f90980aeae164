"""Helpers of the tests.

Read it in this order:

    hypothesis_budget        number of examples of a property test
    strategies, texts        inputs for property tests
    image_files              image files and `data:` URIs, valid and invalid
    byte_tokenizer           a tokenizer of single bytes
    stop_strings             the definition of stop strings, by brute force
    constant_logits          a checkpoint whose logits do not depend on the prompt
    jsonschema_oracle        JSON Schema validation with `jsonschema`
    structured_output_fuzz   random outputs for random formats, checked (a command)
    captions                 accuracy of the embedded vision model over HTTP (a command)
    readme                   the README's table of parameters (a command)
"""
