"""python -m conformance.third_party.samplers.mlx: `mlx_lm.sample_utils` on the CPU, in the order of
`make_sampler`: logits processors, top_p, min_p, top_k, temperature.
"""

import mlx.core as mx
from mlx_lm import sample_utils

from conformance.third_party.samplers import program
from conformance.third_party.samplers.program import PENALTIES, Answer, Input

SAMPLING = ("temperature", "min_p", "top_k", "top_p")  # of log-probabilities
mx.set_default_device(mx.cpu)


def answer(case: Input) -> Answer:
    program.require_absent(case, "allowed")
    x = mx.array([program.read(case["logits"])], dtype=mx.float32)
    size = x.shape[1]
    tokens = [*case.get("prompt", []), *case.get("output", [])]
    given = {name: case[name] for name in PENALTIES if name in case}
    context = {
        f"{name.removesuffix('_penalty')}_context_size": max(1, len(tokens)) for name in given
    }
    for processor in sample_utils.make_logits_processors(**given, **context):
        x = processor(mx.array(tokens, dtype=mx.int32), x)
    if case.get("temperature") == 0:
        best = int(mx.argmax(x, axis=-1).item())
        return program.write([0.0 if i == best else -float("inf") for i in range(size)])
    if not any(name in case for name in SAMPLING):
        return program.write(x[0].tolist())
    x = x - mx.logsumexp(x, axis=-1, keepdims=True)
    if 0 < case.get("top_p", 1.0) < 1:
        x = sample_utils.apply_top_p(x, case["top_p"])
    if case.get("min_p", 0.0) != 0:
        x = sample_utils.apply_min_p(x, case["min_p"], 1)
    if 0 < case.get("top_k", 0) < size:
        x = sample_utils.apply_top_k(x, case["top_k"])
    x = x * (1 / case.get("temperature", 1.0))
    return program.write(x[0].tolist())


FAMILIES = (*PENALTIES, "temperature", "min_p", "top_k", "top_p", "chain")

if __name__ == "__main__":
    program.run(dict.fromkeys(FAMILIES, answer))
