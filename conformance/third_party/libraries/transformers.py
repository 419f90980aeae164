"""python -m conformance.third_party.libraries.transformers CHECKPOINT PORT: `generate`, in float32.

Its own parameters are those of the request. A penalty applies to prompt and output.
"""

from pathlib import Path
from typing import Any

from conformance.third_party.libraries.server import Fields, Json, Prompt, Tokens, serve


class Transformers:
    """`generate` of a model, with all parameters that it has."""

    fields = frozenset({"top_p", "top_k", "min_p", "repetition_penalty", "seed"}) | {
        *("logprobs", "return_tokens_as_token_ids", "stop_token_ids")
    }

    def __init__(self, checkpoint: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch: Any = torch
        self.tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
        self.model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)

    def complete(self, prompt: Prompt, fields: Fields) -> Json:
        ids = self.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        ends = [self.tokenizer.eos_token_id, *fields.get("stop_token_ids", ())]
        settings: dict[str, Any] = {"do_sample": False}
        if temperature := fields.get("temperature", 1):
            names = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
            settings = {name: fields.get(name, off) for name, off in names.items()}
            settings |= {"do_sample": True, "temperature": float(temperature)}
        if "seed" in fields:
            self.torch.manual_seed(fields["seed"])
        result = self.model.generate(
            self.torch.tensor([ids]),
            max_new_tokens=fields["max_tokens"],
            repetition_penalty=float(fields.get("repetition_penalty", 1)),
            eos_token_id=ends,
            pad_token_id=self.tokenizer.eos_token_id,
            output_logits=True,
            return_dict_in_generate=True,
            **settings,
        )
        output = result.sequences[0, len(ids) :].tolist()
        ended = bool(output) and output[-1] in ends
        rows: list[list[float]] = []
        if fields.get("logprobs") is not None:
            rows = [row[0].log_softmax(-1).tolist() for row in result.logits][: len(output)]
        return Tokens(ids, output, rows, ended).as_response(self.decode, fields)

    def decode(self, tokens: Any) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


if __name__ == "__main__":
    serve(Transformers)
