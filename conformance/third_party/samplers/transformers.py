"""python -m conformance.third_party.samplers.transformers: its logits processors, in the order of
`GenerationMixin._get_logits_processor`. A temperature of 0 is `do_sample=False`, as its users write
it: the argmax.
"""

from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from conformance.third_party.samplers import program
from conformance.third_party.samplers.program import Answer, Input


def answer(case: Input) -> Answer:
    program.require_absent(case, "allowed", "frequency_penalty", "presence_penalty")
    x = torch.tensor([program.read(case["logits"])], dtype=torch.float32)
    ids = torch.tensor([[*case.get("prompt", []), *case.get("output", [])]], dtype=torch.int64)
    for processor in processors(case):
        x = processor(ids, x)
    if case.get("temperature") == 0:
        kept = torch.full_like(x, -torch.inf)
        kept[0, x.argmax()] = 0
        x = kept
    return program.write(x[0].tolist())


def processors(case: Input) -> Any:
    """Build the processors of a case, as `generate` does from a generation config."""
    result = LogitsProcessorList()
    if case.get("repetition_penalty", 1.0) != 1.0:
        result.append(RepetitionPenaltyLogitsProcessor(case["repetition_penalty"]))
    if case.get("temperature") == 0:
        return result
    if case.get("temperature", 1.0) != 1.0:
        result.append(TemperatureLogitsWarper(float(case["temperature"])))
    if case.get("top_k", 0) != 0:
        result.append(TopKLogitsWarper(top_k=case["top_k"]))
    if case.get("top_p", 1.0) < 1.0:
        result.append(TopPLogitsWarper(top_p=float(case["top_p"])))
    if "min_p" in case:
        result.append(MinPLogitsWarper(min_p=float(case["min_p"])))
    return result


FAMILIES = ("repetition_penalty", "temperature", "min_p", "top_k", "top_p", "chain")

if __name__ == "__main__":
    program.run(dict.fromkeys(FAMILIES, answer))
