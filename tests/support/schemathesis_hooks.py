"""Restricts the requests of schemathesis to those that the OpenAPI document can describe.

The document cannot say which model is served to a client, which JSON Schemas and regexes are
supported, or that an output should be short.
"""

from typing import Any

import schemathesis

MODEL = "toy"
MAX_TOKENS, MAX_PROMPTS = 4, 3


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Change what has the right type; what is invalid stays invalid."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("model"), str):
        body["model"] = MODEL
    tokens = body.get("max_tokens")
    if tokens is None:
        body["max_tokens"] = MAX_TOKENS
    elif type(tokens) in (int, float) and MAX_TOKENS < tokens <= 10**6 and tokens == int(tokens):
        body["max_tokens"] = type(tokens)(MAX_TOKENS)
    if isinstance(body.get("prompt"), list) and len(body["prompt"]) <= 256:
        body["prompt"] = body["prompt"][:MAX_PROMPTS]
    restrict_format(body.get("response_format"))
    return body


def restrict_format(response_format: Any) -> None:
    """Replace a JSON Schema or a regex by one that is supported."""
    if not isinstance(response_format, dict):
        return
    named = response_format.get("json_schema")
    if response_format.get("type") == "json_schema" and isinstance(named, dict):
        if isinstance(named.get("schema"), dict):
            named["schema"] = {"type": "object"}
    if response_format.get("type") == "regex" and isinstance(response_format.get("regex"), str):
        response_format["regex"] = "[a-z]{3}"
