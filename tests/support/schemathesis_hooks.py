"""Restricts the requests of schemathesis to those that the OpenAPI document can describe.

The document cannot say which model is served to a client, which JSON Schemas and regexes are
supported, or that an output should be short.
"""

from typing import Any

import schemathesis

MODEL = "toy"
MAX_TOKENS, MAX_PROMPTS, MAX_LENGTH, MAX_ID = 4, 3, 50, 255


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Change what has the right type; what is invalid stays invalid."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("model"), str):
        body["model"] = MODEL
    if isinstance(body.get("tokens"), list):
        body["tokens"] = shortened(body["tokens"])
    if context.operation.path.endswith("/completions"):
        restrict_completion(body)
    return body


def restrict_completion(body: dict[str, Any]) -> None:
    """Shorten outputs and prompts to what the context holds."""
    tokens = body.get("max_tokens")
    if tokens is None:
        body["max_tokens"] = MAX_TOKENS
    elif type(tokens) in (int, float) and MAX_TOKENS < tokens <= 10**6 and tokens == int(tokens):
        body["max_tokens"] = type(tokens)(MAX_TOKENS)
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        body["prompt"] = prompt[:MAX_LENGTH]
    if isinstance(prompt, list) and len(prompt) <= 256:
        is_nested = any(isinstance(part, (str, list)) for part in prompt)
        body["prompt"] = [
            shortened(part) for part in prompt[: MAX_PROMPTS if is_nested else MAX_LENGTH]
        ]
    restrict_format(body.get("response_format"))


def shortened(prompt: Any) -> Any:
    """Cut a prompt of text or of token ids, and replace ids that the model may not have."""
    if isinstance(prompt, list):
        return [shortened(part) for part in prompt[:MAX_LENGTH]]
    if type(prompt) in (int, float) and not 0 <= prompt <= MAX_ID and prompt % 1 == 0:
        return type(prompt)(MAX_ID)
    return prompt[:MAX_LENGTH] if isinstance(prompt, str) else prompt


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
