"""transformers, as it comes: PYTHON transformers_worker.py CHECKPOINT THREADS

A batch that decodes together with a growing cache, greedy.
"""

import sys
import time

import torch
import transformers
from answering import answer
from transformers import AutoModelForCausalLM, DynamicCache


class Runner:
    """A model, read once."""

    def __init__(self, directory: str, threads: int) -> None:
        torch.set_num_threads(threads)
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self.model = model.eval()

    @torch.inference_mode()
    def decode(self, streams: int, prompt: int, tokens: int) -> float:
        ids = torch.tensor([[1, 300 + s, *range(400, 400 + prompt - 2)] for s in range(streams)])
        cache = DynamicCache()
        drawn = self.step(ids, cache)
        begin = time.perf_counter()
        for _ in range(tokens):
            drawn = self.step(drawn, cache)
        return streams * tokens / (time.perf_counter() - begin)

    @torch.inference_mode()
    def prefill(self, prompt: int) -> float:
        ids = torch.tensor([[1, *range(400, 400 + prompt - 1)]])
        begin = time.perf_counter()
        self.step(ids, DynamicCache())
        return prompt / (time.perf_counter() - begin)

    def step(self, ids: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """The likeliest token after each row."""
        out = self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1:].argmax(-1)


def main() -> None:
    transformers.logging.set_verbosity_error()
    runner = Runner(sys.argv[1], int(sys.argv[2]))
    answer(runner, f"transformers {transformers.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
