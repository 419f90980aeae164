"""python -m conformance.third_party.libraries.llama_cpp MODEL.gguf PORT: `create_completion` of
llama-cpp-python, with a KV cache in float32.

Its defaults are not neutral, so each parameter is given. Its server does not do that.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from conformance.third_party.libraries.server import Fields, Json, Prompt, Refused, serve

FLOAT32 = 0  # the type of keys and values in GGML
NEUTRAL: Fields = {
    "temperature": 1.0,
    "top_p": 1.0,
    "min_p": 0.0,
    "top_k": 0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
}
NAMES = {"repetition_penalty": "repeat_penalty"}


class LlamaCpp:
    """`create_completion` of a model, with the parameters that have the same meaning."""

    fields = frozenset(NEUTRAL) | {"max_tokens", "stop", "seed", "logprobs", "echo"}

    def __init__(self, model: Path) -> None:
        cache = {"type_k": FLOAT32, "type_v": FLOAT32}
        llama_cpp: Any = import_module("llama_cpp")
        self.model: Any = llama_cpp.Llama(
            str(model), n_ctx=0, n_threads=2, logits_all=True, verbose=False, **cache
        )

    def complete(self, prompt: Prompt, fields: Fields) -> Json:
        settings = {**NEUTRAL, **{name: fields[name] for name in self.fields if name in fields}}
        arguments = {NAMES.get(name, name): value for name, value in settings.items()}
        answer = self.model.create_completion(prompt, **arguments)
        if not isinstance(answer, dict):
            raise Refused("stream: this server has no streams")
        return {name: answer[name] for name in ("choices", "usage")}


if __name__ == "__main__":
    serve(LlamaCpp)
