"""The engine beside a bare loop of the same shape, in turns, in one run.

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
from jax_backend.serving.executor import Settings
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
WAYS = {
    "greedy": GREEDY,
    "sampled": SAMPLED,
    "everything": EVERYTHING,
    "json_object": OBJECT,
    "json_schema": SCHEMA,
}
END = 0  # of a text
PROMPT = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="134M")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--variant", action="store_true", help="use every width")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    shape = config(options.shape)
    model = random_model(shape, jnp.dtype(jnp.float32))
    weights = by_name(model)
    settings = Settings(widths=tuple(options.widths), invariant=not options.variant)
    engine = JaxEngine(model, (END,), vocabulary(shape.vocab_size), settings)
    print(f"{options.shape}, float32, {jax.devices()[0].device_kind}, {engine.device.widths=}")
    for streams in options.streams:
        bare: list[float] = []
        ours: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(options.repeats):
            bare.append(streams / loop(shape, weights, streams, options.tokens, PROMPT))
            for name, params in WAYS.items():
                ours[name].append(rate(engine, streams, options.tokens, params))
        print(f"{streams} streams: bare loop {statistics.median(bare):7.1f} tokens/s")
        for name, rates in ours.items():
            beside = f"{ratio(rates, bare)} of the loop"
            if name.startswith("json"):
                beside += f", {ratio(rates, ours['sampled'])} of sampled text"
            print(f"  {name:11} {statistics.median(rates):7.1f} tokens/s, {beside}")
    engine.close()


def ratio(ours: list[float], theirs: list[float]) -> str:
    """The median of the ratios of pairs, and their range."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def by_name(model: Llama) -> Weights:
    """The same arrays as plain dictionaries."""

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
    """Tokens per second of requests that run together, from the first step that has all of them."""
    arrived: queue.SimpleQueue[tuple[float, Event]] = queue.SimpleQueue()
    for seed in range(streams):
        prompt = [seed + 1, *range(100, 100 + PROMPT - 1)]
        asked = CompletionParams(max_tokens=tokens, seed=seed, **params)
        request = Request.of(prompt, asked, language=compile_format(asked.response_format))
        engine.submit(request, lambda event: arrived.put((time.perf_counter(), event)))
    times: list[float] = []
    ended = 0
    while ended < streams:
        at, event = arrived.get()
        if isinstance(event, RequestFinished):
            assert event.error is None, event.error
            ended += 1
        elif isinstance(event, TokenGenerated):
            times.append(at)
    # Between the first and the last token of the stretch in which every stream is running.
    steady = times[streams * streams : len(times) - streams * streams] if streams > 1 else times
    return (len(steady) - streams) / (steady[-1] - steady[0])


if __name__ == "__main__":
    main()
