"""Tests of the endpoint.

Files, in reading order:

    toy                  a toy tokenizer and engine whose outputs can be worked out by hand
    http_client          shorthands for requests, and a raw ASGI client
    conftest             the app around the toy model or any backend
    test_toy             the outputs of the toy
    test_contract        the API contract, on every backend
    test_completions     completions of the toy model
    test_special_tokens  stop strings and echoed prompts with special tokens, on both backends
    test_images          images with the toy model
    test_parsing         from bytes to JSON
    test_validation      invalid fields
    test_unknown_fields  unknown fields
    test_limits          limits on sizes and concurrency
    test_failures        400s, failing engines, disconnecting clients
    test_live            requests over a socket
    test_openapi         the OpenAPI document
    schema               the JSON bodies
    responses            JSON in pieces, large responses
    security             API keys, web pages
    options              the environment and a TOML file
    observability        metrics, logs, traces
    operation            start, probes, admission, shutdown
"""
