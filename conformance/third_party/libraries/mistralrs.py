"""python -m conformance.third_party.libraries.mistralrs CHECKPOINT PORT: the SDK of mistral.rs,
in float32.

Its completions have no log-probabilities, so a prompt is sent as a chat whose template adds no
text. It reads no token ids, and has no seed for a request. An entry does not have the id of its
token, which is looked up among all tokens by its text and its log-probability.
"""

import json
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

    fields = (
        frozenset(SAMPLING)
        | {"presence_penalty", "frequency_penalty", "logprobs", *NAMES}
        | {"return_tokens_as_token_ids"}
    )

    def __init__(self, checkpoint: Path) -> None:
        self.vocab_size = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
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
        as_ids = bool(given.pop("return_tokens_as_token_ids", False))
        if (count := given.pop("logprobs", None)) is not None:
            given |= {"logprobs": True, "top_logprobs": self.vocab_size}
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
                "logprobs": None
                if count is None
                else columns(choice.logprobs.content, count, as_ids),
            }
            for choice in answer.choices
        ]
        tokens = answer.usage.prompt_tokens, answer.usage.completion_tokens
        return {"choices": choices, "usage": usage(*tokens)}


def columns(entries: Any, count: int, as_ids: bool) -> Json:
    """Return the entries in the shape of completions; the chosen token is added to the top ones."""
    rows = []
    for entry in entries:
        names = {t.token: f"token_id:{t.token}" if as_ids else t.bytes for t in entry.top_logprobs}
        chosen = next(
            t for t in entry.top_logprobs if (t.bytes, t.logprob) == (entry.token, entry.logprob)
        )
        shown = [t for i, t in enumerate(entry.top_logprobs) if i < count or t is chosen]
        rows.append((names[chosen.token], {names[t.token]: t.logprob for t in shown}, chosen))
    texts = [chosen.bytes or "" for _, _, chosen in rows]
    return {
        "tokens": [name for name, _, _ in rows],
        "token_logprobs": [chosen.logprob for _, _, chosen in rows],
        "top_logprobs": [top for _, top, _ in rows],
        "text_offset": [sum(map(len, texts[:i])) for i in range(len(texts))],
    }


if __name__ == "__main__":
    serve(MistralRs)
