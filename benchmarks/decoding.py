"""Compare the engine with a hand-written decode loop of the same shape, in interleaved runs.

python -m benchmarks.decoding [--shape 134M] [--streams 1 8] [--repeats 15] [--variant]
"""

import argparse
import queue
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.decode_baseline import Weights, loop
from benchmarks.shapes import SHAPES, config, random_model, vocabulary
from jax_backend.model.llama import Llama
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.settings import Settings
from reference.grammar.response_format import compile_format
from reference.params import CompletionParams
from reference.request import Event, Request, RequestFinished, TokenGenerated

GREEDY = {"temperature": 0.0}
SAMPLED = {"temperature": 0.8, "top_p": 0.9}
EVERYTHING = SAMPLED | {
    "top_k": 50,
    "min_p": 0.01,
    "presence_penalty": 0.2,
    "frequency_penalty": 0.2,
    "repetition_penalty": 1.1,
    "logprobs": 5,
}
RECORDS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "id": {"type": "integer", "minimum": 0, "maximum": 99999},
            "name": {"type": "string", "maxLength": 12},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}},
            "seen": {"type": ["boolean", "null"]},
        },
        "required": ["id", "name", "tags", "seen"],
        "additionalProperties": False,
    },
    "minItems": 1000,
}
OBJECT = SAMPLED | {"response_format": {"type": "json_object"}}
SCHEMA = SAMPLED | {"response_format": {"type": "json_schema", "json_schema": {"schema": RECORDS}}}
VARIANTS = {
    "greedy": GREEDY,
    "sampled": SAMPLED,
    "everything": EVERYTHING,
    "json_object": OBJECT,
    "json_schema": SCHEMA,
}
EOS = 0
PROMPT = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="134M")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8])
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[1, 2, 4, 8], help="compiled batch sizes"
    )
    parser.add_argument("--variant", action="store_true", help="use all batch sizes")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    shape = config(options.shape)
    model = random_model(shape, jnp.dtype(jnp.float32))
    weights = unfused_weights(model)
    settings = Settings(
        batch_sizes=tuple(options.widths), batch_invariant=not options.variant, speculate="off"
    )
    engine = JaxEngine(model, (EOS,), vocabulary(shape.vocab_size), settings)
    kind, batch_sizes = jax.devices()[0].device_kind, engine.executor.batch_sizes
    print(f"{options.shape}, float32, {kind}, batch sizes {batch_sizes}")
    for streams in options.streams:
        baseline: list[float] = []
        rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for _ in range(options.repeats):
            seconds = loop(shape, weights, streams, options.tokens, PROMPT)
            baseline.append(streams / seconds)
            for name, params in VARIANTS.items():
                rates[name].append(rate(engine, streams, options.tokens, params))
        print(f"{streams} streams: decode loop {statistics.median(baseline):7.1f} tokens/s")
        for name, values in rates.items():
            ratios = f"{ratio(values, baseline)} of the loop"
            if name.startswith("json"):
                ratios += f", {ratio(values, rates['sampled'])} of sampled text"
            print(f"  {name:11} {statistics.median(values):7.1f} tokens/s, {ratios}")
    engine.close()


def ratio(rates: list[float], baseline: list[float]) -> str:
    """Return the median of the ratios of pairs, and their range."""
    ratios = [a / b for a, b in zip(rates, baseline, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def unfused_weights(model: Llama) -> Weights:
    """Return the weights of a model as plain dictionaries, with fused matrices split."""
    config = model.config
    Q = config.num_attention_heads * config.head_dim
    KV = config.num_key_value_heads * config.head_dim

    def linear(layer: nnx.Module) -> Weights:
        q, k, v = jnp.split(layer.qkv_proj.weight[...], (Q, Q + KV))
        gate, up = jnp.split(layer.gate_up_proj.weight[...], 2)
        return {
            "q_proj": q,
            "k_proj": k,
            "v_proj": v,
            "o_proj": layer.o_proj.weight[...],
            "gate_proj": gate,
            "up_proj": up,
            "down_proj": layer.down_proj.weight[...],
        }

    assert model.lm_head is not None
    return {
        "embed_tokens": model.embed_tokens[...],
        "layers": [
            linear(layer)
            | {
                "input_layernorm": layer.input_layernorm[...],
                "post_attention_layernorm": layer.post_attention_layernorm[...],
            }
            for layer in model.layers
        ],
        "norm": model.norm[...],
        "lm_head": model.lm_head[...],
    }


def rate(engine: JaxEngine, streams: int, tokens: int, params: dict[str, Any]) -> float:
    """Return tokens per second of concurrent requests, over the steps in which all are running."""
    arrived: queue.SimpleQueue[tuple[float, Event]] = queue.SimpleQueue()
    for seed in range(streams):
        prompt = [seed + 1, *range(100, 100 + PROMPT - 1)]
        fields = CompletionParams(max_tokens=tokens, seed=seed, **params)
        language = compile_format(fields.response_format)
        request = Request.of(prompt, fields, language=language)
        engine.submit(request, lambda event: arrived.put((time.perf_counter(), event)))
    times: list[float] = []
    finished = 0
    while finished < streams:
        at, event = arrived.get()
        if isinstance(event, RequestFinished):
            assert event.error is None, event.error
            finished += 1
        elif isinstance(event, TokenGenerated):
            times.append(at)
    # Leave out the tokens at both ends, when not every stream may be running.
    steady = times[streams * streams : len(times) - streams * streams] if streams > 1 else times
    return (len(steady) - streams) / (steady[-1] - steady[0])


if __name__ == "__main__":
    main()
