"""llama.cpp, through its C library: PYTHON llama_cpp_worker.py FILE.gguf THREADS PRECISION

One batch of sequences that decode together, greedy; the argmax is computed with NumPy.
"""

import ctypes
import sys
import time
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import llama_cpp as c
from protocol import serve

BATCH = 2048  # maximum tokens per call


@c.llama_log_callback
def ignore_log(level: int, text: bytes, data: Any) -> None:
    pass


class Runner:
    """A model that is loaded once, with a context for every scenario."""

    def __init__(self, path: str, threads: int) -> None:
        c.llama_backend_init()
        c.llama_log_set(ignore_log, ctypes.c_void_p(0))
        self.threads = threads
        self.model = c.llama_model_load_from_file(path.encode(), c.llama_model_default_params())
        self.vocab_size = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self.model))
        self.batch = c.llama_batch_init(BATCH, 0, 64)

    def context(self, sequences: int, length: int) -> Any:
        params = c.llama_context_default_params()
        params.n_ctx = sequences * length
        params.n_batch, params.n_ubatch = BATCH, 512
        params.n_threads = params.n_threads_batch = self.threads
        params.n_seq_max = sequences
        return c.llama_init_from_model(self.model, params)

    def forward(self, context: Any, rows: list[tuple[int, int, int, bool]]) -> None:
        """Run a batch of rows: (token, position, sequence, whether logits are needed)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, needs_logits) in enumerate(rows):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = needs_logits
        if c.llama_decode(context, batch):
            raise RuntimeError("llama_decode failed")

    def argmax(self, context: Any, row: int) -> int:
        logits = c.llama_get_logits_ith(context, row)
        return int(np.ctypeslib.as_array(logits, (self.vocab_size,)).argmax())

    def decode(self, streams: int, prompt: int, tokens: int) -> float:
        context = self.context(streams, prompt + tokens + 8)
        last = []
        for s in range(streams):
            ids = [1, 300 + s, *range(400, 400 + prompt - 2)]
            self.forward(context, [(t, i, s, i == prompt - 1) for i, t in enumerate(ids)])
            last.append(self.argmax(context, prompt - 1))
        begin = time.perf_counter()
        for step in range(tokens):
            self.forward(context, [(t, prompt + step, s, True) for s, t in enumerate(last)])
            last = [self.argmax(context, s) for s in range(streams)]
        took = time.perf_counter() - begin
        c.llama_free(context)
        return streams * tokens / took

    def prefill(self, prompt: int) -> float:
        context = self.context(1, prompt + 8)
        ids = [1, *range(400, 400 + prompt - 1)]
        begin = time.perf_counter()
        self.forward(context, [(t, i, 0, i == prompt - 1) for i, t in enumerate(ids)])
        self.argmax(context, prompt - 1)
        took = time.perf_counter() - begin
        c.llama_free(context)
        return prompt / took


def main() -> None:
    runner = Runner(sys.argv[1], int(sys.argv[2]))
    serve(
        {"decode": runner.decode, "prefill": runner.prefill},
        f"llama-cpp-python {llama_cpp.__version__}",
    )


if __name__ == "__main__":
    main()
