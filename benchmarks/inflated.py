"""The embedded model at the cost of a larger one: real text, real matrix sizes.

    python -m benchmarks.inflated DIR [--shape 134M]

Writes a checkpoint whose function is the embedded model's, up to rounding: widths are padded with
zeros, norms rescaled, and further layers add nothing to the residual stream. Then checks that it
generates the same tokens, greedy and sampled.

    hidden size      the mean square shrinks by D / D', so norm weights shrink by its square root
    heads            pair r of H / 2 rotates as pair r · H' / H of H' / 2; queries grow by √(H' / H)
    key-value heads  repeated for each query head; further heads have no output
    vocabulary       ids that the tokenizer does not have, which are never sampled
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.checkpoint import TOKENIZER
from benchmarks.shapes import SHAPES, config_json
from conformance.parity.harness.requests import RequestSpec, collect
from jax_backend.launch import LaunchedEngine, launch
from reference.bundle import EMBEDDED, load_processor
from reference.model import checkpoint
from reference.model.config import LlamaConfig
from reference.model.weights import EMBEDDING, LM_HEAD, Layer, expected_tensors

SOURCE = EMBEDDED / "text"
PROMPTS = ("Once upon a time", "One sunny day,", "List three toys.\n", "Q: What is 4 plus 7?\n")
NO_LAYER = ("o_proj", "down_proj")  # zero in the layers that add nothing


def write(directory: Path, shape: str = "134M") -> None:
    """Write the checkpoint in float32, unless it exists."""
    file = directory / "model.safetensors"
    if file.exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    small = checkpoint.load(SOURCE)
    source = json.loads((SOURCE / "config.json").read_text())
    ratio = small.config.hidden_size / SHAPES[shape]["hidden_size"]
    kept = ("rope_theta", "bos_token_id", "eos_token_id", "max_position_embeddings")
    fields = config_json(shape) | {name: source[name] for name in kept}
    fields |= {"rms_norm_eps": source["rms_norm_eps"] * ratio, "torch_dtype": "float32"}
    large = LlamaConfig.from_json(fields)
    check_shapes(small.config, large)

    sizes = dict(expected_tensors(large))
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {}
    norm_scale = np.float32(np.sqrt(ratio))
    for name, size in sizes.items():
        if len(size) == 1:
            tensors[name] = np.ones(size, np.float32)
        else:
            values = rng.standard_normal(size, np.float32) / np.float32(np.sqrt(size[-1]))
            tensors[name] = np.zeros_like(values) if name.split(".")[-2] in NO_LAYER else values
    for i, layer in enumerate(small.weights.layers):
        for name, values in inflated_layer(layer, small.config, large).items():
            tensors[f"model.layers.{i}.{name}.weight"] = values
        for name in "input_layernorm", "post_attention_layernorm":
            key = f"model.layers.{i}.{name}.weight"
            tensors[key] = padded(getattr(layer, name) * norm_scale, sizes[key])
    tensors["model.norm.weight"] = padded(
        small.weights.norm * norm_scale, sizes["model.norm.weight"]
    )
    tensors[EMBEDDING] = padded(small.weights.embedding, sizes[EMBEDDING])
    tensors[LM_HEAD] = padded(small.weights.lm_head, sizes[LM_HEAD])
    for name in (*TOKENIZER, "generation_config.json"):
        shutil.copyfile(SOURCE / name, directory / name)
    (directory / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
    save_file(tensors, file, metadata={"format": "pt"})


def check_shapes(small: LlamaConfig, large: LlamaConfig) -> None:
    """Raise ValueError if a model does not fit into a shape."""
    for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"):
        if getattr(small, name) > getattr(large, name):
            raise ValueError(f"{name}: {getattr(large, name)} is below {getattr(small, name)}")
    if large.head_dim % small.head_dim:
        raise ValueError(f"head_dim: {large.head_dim} is not a multiple of {small.head_dim}")
    if small.num_attention_heads > large.num_key_value_heads:
        raise ValueError(f"num_key_value_heads: {large.num_key_value_heads} are too few")


def inflated_layer(layer: Layer, small: LlamaConfig, large: LlamaConfig) -> dict[str, np.ndarray]:
    """Return the matrices of a layer at the size of a larger model."""
    N, K, H = small.num_attention_heads, small.num_key_value_heads, small.head_dim
    D, F = large.hidden_size, large.intermediate_size
    heads, group = np.arange(N), N // K
    kv_heads = large.num_attention_heads // large.num_key_value_heads
    scale = np.float32(np.sqrt(large.head_dim / H))

    def spread(
        values: np.ndarray, source: np.ndarray, target: np.ndarray, count: int
    ) -> np.ndarray:
        """Put heads of `values`, (heads · H, D), at places of `count` larger heads."""
        pairs = values.astype(np.float32).reshape(-1, 2, H // 2, values.shape[1])
        result = np.zeros((count, 2, large.head_dim // 2, D), np.float32)
        result[target, :, :: large.head_dim // H, : values.shape[1]] = pairs[source]
        return result.reshape(-1, D)

    # Query head i of the larger model reads key-value head i // kv_heads: use one query head each.
    query_places, count = heads * kv_heads, large.num_key_value_heads
    return {
        "self_attn.q_proj": spread(
            layer.q_proj.weight.astype(np.float32) * scale,
            heads,
            query_places,
            large.num_attention_heads,
        ),
        "self_attn.k_proj": spread(layer.k_proj.weight, heads // group, heads, count),
        "self_attn.v_proj": spread(layer.v_proj.weight, heads // group, heads, count),
        "self_attn.o_proj": np.ascontiguousarray(
            spread(layer.o_proj.weight.T, heads, query_places, large.num_attention_heads).T
        ),
        "mlp.gate_proj": padded(layer.gate_proj.weight, (F, D)),
        "mlp.up_proj": padded(layer.up_proj.weight, (F, D)),
        "mlp.down_proj": padded(layer.down_proj.weight, (D, F)),
    }


def padded(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pad with zeros at the end of every axis."""
    result = np.zeros(shape, np.float32)
    result[tuple(slice(n) for n in values.shape)] = values
    return result


def start(directory: Path, slots: int = 8, batch_invariant: bool = True) -> LaunchedEngine:
    """Start an engine."""
    vocabulary = load_processor(directory).vocabulary
    return launch(directory, vocabulary, slots=slots, batch_invariant=batch_invariant)


def count_identical(engine: LaunchedEngine, tokens: int = 64) -> int:
    """Compare an engine with the embedded model. Return how many outputs are identical. Raises
    ValueError for a difference.
    """
    tokenizer = load_processor(SOURCE).tokenizer
    requests = [
        RequestSpec(
            tokenizer.encode(prompt), {"max_tokens": tokens, "seed": seed, "temperature": value}
        ).request
        for prompt in PROMPTS
        for seed, value in enumerate((0.0, 0.8, 1.0))
    ]
    small = start(SOURCE)
    expected = collect(small.engine, requests)
    small.engine.close()
    for request, output, other in zip(
        requests, collect(engine.engine, requests), expected, strict=True
    ):
        if output.tokens != other.tokens:
            raise ValueError(f"{request.prompt}: {output.tokens}, embedded: {other.tokens}")
    return len(requests)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inflated")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="134M")
    options = parser.parse_args()
    write(options.directory, options.shape)
    engine = start(options.directory)
    print(f"{count_identical(engine)} outputs are identical to the embedded model's")
    engine.engine.close()


if __name__ == "__main__":
    main()
