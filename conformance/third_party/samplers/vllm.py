"""python -m conformance.third_party.samplers.vllm: the operations of vLLM's V1 sampler on the CPU,
in its order: penalties, temperature, min_p, then top_k and top_p together.
"""

from types import SimpleNamespace
from typing import Any

import torch
from vllm.v1.sample.logits_processor.builtin import MinPLogitsProcessor
from vllm.v1.sample.ops.penalties import apply_all_penalties
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p
from vllm.v1.sample.sampler import Sampler

from conformance.third_party.samplers import program
from conformance.third_party.samplers.program import PENALTIES, Answer, Input

GREEDY_BELOW = 1e-5  # its sampling params round lower temperatures to greedy


def answer(case: Input) -> Answer:
    x = torch.tensor([program.read(case["logits"])], dtype=torch.float32)
    size = x.shape[1]
    if "allowed" in case:
        keep = torch.zeros(1, size, dtype=torch.bool)
        keep[0, case["allowed"]] = True
        x = x.masked_fill(~keep, -torch.inf)
    if any(name in case for name in PENALTIES):
        x = with_penalties(x, case)
    if case.get("temperature", 1.0) < GREEDY_BELOW:
        kept = torch.full_like(x, -torch.inf)
        kept[0, Sampler.greedy_sample(x)] = 0
        return program.write(kept[0].tolist())
    if "temperature" in case:
        x = Sampler.apply_temperature(x, torch.tensor([float(case["temperature"])]), True)
    if case.get("min_p", 0.0) > 0:
        x = with_min_p(x, float(case["min_p"]))
    k = case.get("top_k", 0)
    p = case.get("top_p", 1.0)
    x = apply_top_k_top_p(
        x,
        torch.tensor([min(k, size)], dtype=torch.int32) if k else None,
        torch.tensor([float(p)]) if p < 1 else None,
    )
    return program.write(x[0].tolist())


def with_penalties(x: torch.Tensor, case: Input) -> torch.Tensor:
    values: dict[str, Any] = {
        name: torch.tensor([float(case.get(name, name.startswith("rep")))]) for name in PENALTIES
    }
    return apply_all_penalties(
        x,
        torch.tensor([case["prompt"]], dtype=torch.int64).reshape(1, -1),
        values["presence_penalty"],
        values["frequency_penalty"],
        values["repetition_penalty"],
        [list(case["output"])],
    )


def with_min_p(x: torch.Tensor, fraction: float) -> torch.Tensor:
    """Apply its processor, as a batch with one request."""
    config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=1))
    processor = MinPLogitsProcessor(config, torch.device("cpu"), False)
    added: list[Any] = [(0, SimpleNamespace(min_p=fraction), [], [])]
    processor.update_state(SimpleNamespace(added=added, removed=[], moved=[], batch_size=1))
    return processor.apply(x)


FAMILIES = ("mask", *PENALTIES, "temperature", "min_p", "top_k", "top_p", "chain")

if __name__ == "__main__":
    program.run(dict.fromkeys(FAMILIES, answer))
