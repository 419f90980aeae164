"""transformers: PYTHON transformers_worker.py CHECKPOINT THREADS PRECISION [--compiled]

A batch that decodes together, greedy, on a GPU if there is one: eager with a dynamic cache, or
compiled with a static one.
"""

import sys
import time

import torch
import transformers
from protocol import serve
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache


class Runner:
    """A model that is loaded once."""

    def __init__(self, directory: str, threads: int, precision: str, compiled: bool) -> None:
        torch.set_num_threads(threads)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = getattr(torch, precision)
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()
        self.model = model.to(self.device)
        self.caches: dict[int, StaticCache] | None = {} if compiled else None
        torch._dynamo.config.cache_size_limit = 64  # one program for each number of streams
        mode = "reduce-overhead" if self.device == "cuda" else None
        self.decode_step = (
            torch.compile(self.step, mode=mode, dynamic=False) if compiled else self.step
        )

    @torch.no_grad()
    def decode(self, streams: int, prompt: int, tokens: int) -> float:
        rows = [[1, 300 + s, *range(400, 400 + prompt - 2)] for s in range(streams)]
        ids = torch.tensor(rows, device=self.device)
        cache = self.cache(streams, prompt + tokens + 8)
        position = torch.arange(prompt, device=self.device)
        last = self.step(ids, cache, position)
        position = position[-1:] + 1
        for _ in range(4):  # compilation, and capture of the CUDA graph
            last = self.decode_step(last, cache, position).clone()
            position = position + 1
        self.synchronize()
        begin = time.perf_counter()
        for _ in range(tokens):
            last = self.decode_step(last, cache, position).clone()
            position = position + 1
        self.synchronize()
        return streams * tokens / (time.perf_counter() - begin)

    def cache(self, streams: int, length: int) -> DynamicCache | StaticCache:
        """Return an empty cache. Compiled code binds its address, so it is created only once."""
        if self.caches is None:
            return DynamicCache()
        if streams not in self.caches:
            self.caches[streams] = StaticCache(self.model.config, length)
        self.caches[streams].reset()
        return self.caches[streams]

    @torch.no_grad()
    def prefill(self, prompt: int) -> float:
        ids = torch.tensor([[1, *range(400, 400 + prompt - 1)]], device=self.device)
        begin = time.perf_counter()
        self.step(ids, DynamicCache(), torch.arange(prompt, device=self.device))
        self.synchronize()
        return prompt / (time.perf_counter() - begin)

    def step(
        self, ids: torch.Tensor, cache: DynamicCache | StaticCache, position: torch.Tensor
    ) -> torch.Tensor:
        """Return the argmax of the next token, for each row."""
        out = self.model(
            input_ids=ids,
            position_ids=position[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1:].argmax(-1)

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    transformers.logging.set_verbosity_error()
    directory, threads, precision, *rest = sys.argv[1:]
    runner = Runner(directory, int(threads), precision, "--compiled" in rest)
    device = torch.cuda.get_device_name() if runner.device == "cuda" else "cpu"
    serve(
        {"decode": runner.decode, "prefill": runner.prefill},
        f"transformers {transformers.__version__}, torch {torch.__version__}, {device}",
    )


if __name__ == "__main__":
    main()
