"""Outputs of transformers' logits processors on random logits, where the semantics are the same.

`processors.npz` has, for each case `<name>/<i>`: `logits` (V,) float32, `value`, `tokens` (prompt
and output so far) and `after`. The logits have no ties: at a tie transformers keeps whichever token
its sort puts first.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

PROCESSORS = {
    "repetition_penalty": (RepetitionPenaltyLogitsProcessor, [0.3, 1.0, 1.3, 5.0]),
    "temperature": (TemperatureLogitsWarper, [0.1, 0.7, 1.0, 2.0]),
    "min_p": (MinPLogitsWarper, [0.001, 0.1, 0.5, 1.0]),
    "top_k": (TopKLogitsWarper, [1, 2, 7, 64]),
    "top_p": (TopPLogitsWarper, [0.05, 0.5, 0.9, 0.999]),
}
REPEATS = 6


def make(directory: Path) -> None:
    rng = np.random.default_rng(0)
    cases = {}
    for name, (processor, values) in PROCESSORS.items():
        for i in range(REPEATS * len(values)):
            value = values[i % len(values)]
            logits = (rng.standard_normal(64) * rng.choice([0.5, 2, 8])).astype(np.float32)
            tokens = rng.integers(0, 64, 9)
            after = processor(value)(torch.from_numpy(tokens)[None], torch.from_numpy(logits)[None])
            case = {"logits": logits, "value": value, "tokens": tokens, "after": after[0].numpy()}
            cases |= {f"{name}/{i}/{key}": array for key, array in case.items()}
    np.savez_compressed(directory / "processors.npz", **cases)
    print(f"processors   {len(cases) // 4} cases")
