"""python -m conformance.third_party.libraries.mlx_lm CHECKPOINT PORT: `generate_step`, with the
sampler and the logits processors of `sample_utils`, in the dtype of the checkpoint.

A penalty gets the whole prompt and output, not only the last 20 tokens, which is its default.
"""

from pathlib import Path
from typing import Any

from conformance.third_party.libraries.server import Fields, Json, Prompt, Tokens, serve

CONTEXT = 10**6  # tokens that a penalty gets
PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")


class MlxLm:
    """`generate_step` of a model."""

    fields = frozenset(PENALTIES) | {
        *("top_p", "top_k", "min_p", "seed", "stop_token_ids"),
        *("logprobs", "return_tokens_as_token_ids"),
    }

    def __init__(self, checkpoint: Path) -> None:
        import mlx.core as mx
        from mlx_lm import load, sample_utils
        from mlx_lm.generate import generate_step

        self.mx: Any = mx
        self.utils: Any = sample_utils
        self.generate_step: Any = generate_step
        loaded: Any = load(str(checkpoint))
        self.model, self.tokenizer = loaded[:2]

    def complete(self, prompt: Prompt, fields: Fields) -> Json:
        ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        ends = {*self.tokenizer.eos_token_ids, *fields.get("stop_token_ids", ())}
        if "seed" in fields:
            self.mx.random.seed(fields["seed"])
        names = ("top_p", "min_p", "top_k")
        sampler = self.utils.make_sampler(
            fields.get("temperature", 1), **{name: fields.get(name, 0) for name in names}
        )
        penalties: dict[str, Any] = {name: fields[name] for name in PENALTIES if name in fields}
        sizes = {name.replace("penalty", "context_size"): CONTEXT for name in penalties}
        steps = self.generate_step(
            self.mx.array(ids),
            self.model,
            max_tokens=fields["max_tokens"],
            sampler=sampler,
            logits_processors=self.utils.make_logits_processors(**penalties, **sizes),
        )
        output: list[int] = []
        rows: list[list[float]] = []
        for token, row in steps:
            output.append(int(token))
            if fields.get("logprobs") is not None:
                rows.append(row.tolist())
            if output[-1] in ends:
                break
        ended = bool(output) and output[-1] in ends
        return Tokens(ids, output, rows, ended).as_response(self.decode, fields)

    def decode(self, tokens: Any) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


if __name__ == "__main__":
    serve(MlxLm)
