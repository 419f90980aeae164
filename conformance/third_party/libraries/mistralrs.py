"""python -m conformance.third_party.libraries.mistralrs CHECKPOINT PORT: `Runner` of mistral.rs' SDK,
in float32.

Its completions have no log-probabilities, so a prompt is sent as a chat whose template adds no text. It
reads no token ids, and has no seed for a request.
"""

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from conformance.third_party.libraries.server import (
    Fields,
    Json,
    Prompt,
    Refused,
    serve,
    usage,
)

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "repetition_penalty")
NAMES = {"stop": "stop_seqs", "n": "n_choices"}


class MistralRs:
    """`send_chat_completion_request` of a model, with all parameters that it has."""

    fields = frozenset(SAMPLING) | {"presence_penalty", "frequency_penalty", "logprobs", *NAMES}

    def __init__(self, checkpoint: Path) -> None:
        self.sdk: Any = import_module("mistralrs")
        sdk = self.sdk
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as template:
            template.write(TEMPLATE)
            template.flush()
            model = sdk.Which.Plain(
                model_id=str(checkpoint), arch=sdk.Architecture.Llama, dtype=sdk.ModelDType.F32
            )
            self.runner: Any = sdk.Runner(
                which=model, jinja_explicit=template.name, token_source="none"
            )

    def complete(self, prompt: Prompt, fields: Fields) -> Json:
        if not isinstance(prompt, str):
            raise Refused("prompt: this library takes a text")
        given = {NAMES.get(name, name): fields[name] for name in self.fields if name in fields}
        if (count := given.pop("logprobs", None)) is not None:
            given |= {"logprobs": True, "top_logprobs": count}
        if isinstance(given.get("stop_seqs"), str):
            given["stop_seqs"] = [given["stop_seqs"]]
        messages = [{"role": "user", "content": prompt}]
        answer = self.runner.send_chat_completion_request(
            self.sdk.ChatCompletionRequest(messages=messages, model="default", **given)
        )
        choices = [
            {
                "index": choice.index,
                "text": choice.message.content or "",
                "finish_reason": choice.finish_reason,
                "logprobs": None if count is None else columns(choice.logprobs.content),
            }
            for choice in answer.choices
        ]
        tokens = answer.usage.prompt_tokens, answer.usage.completion_tokens
        return {"choices": choices, "usage": usage(*tokens)}


def columns(entries: Any) -> Json:
    """Return the entries in the shape of completions; the chosen token is added to the top ones."""
    tokens = [entry.token for entry in entries]
    return {
        "tokens": tokens,
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [
            {top.bytes: top.logprob for top in entry.top_logprobs} | {entry.token: entry.logprob}
            for entry in entries
        ],
        "text_offset": [sum(map(len, tokens[:i])) for i in range(len(tokens))],
    }


if __name__ == "__main__":
    serve(MistralRs)
