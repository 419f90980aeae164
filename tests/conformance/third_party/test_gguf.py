"""The GGUF file of the conformance checkpoint, read back by llama.cpp's own package."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, TokenType
from safetensors.numpy import load_file
from sentencepiece import SentencePieceProcessor

from conformance.__main__ import main
from conformance.third_party.to_gguf import NotConvertible, convert
from tests.conformance import tiny_models

TENSORS = {
    "token_embd": "model.embed_tokens",
    "output": "lm_head",
    "output_norm": "model.norm",
    "blk.1.attn_v": "model.layers.1.self_attn.v_proj",
    "blk.1.attn_output": "model.layers.1.self_attn.o_proj",
    "blk.0.ffn_down": "model.layers.0.mlp.down_proj",
    "blk.0.attn_norm": "model.layers.0.input_layernorm",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gguf")
    assert main(["checkpoint", str(out), "--format", "gguf"]) == 0
    return out


@pytest.fixture(scope="module")
def file(directory: Path) -> Any:
    return GGUFReader(directory / "model.gguf")


def value(file: Any, name: str) -> Any:
    return file.get_field(name).contents()


def test_shape(directory: Path, file: Any) -> None:
    assert value(file, "general.architecture") == "llama"
    assert value(file, "llama.context_length") == 256
    assert value(file, "llama.block_count") == 2
    assert value(file, "llama.attention.head_count") == 2
    assert value(file, "llama.attention.head_count_kv") == 1
    assert value(file, "llama.rope.dimension_count") == 32


def test_tensors_are_the_same_numbers(directory: Path, file: Any) -> None:
    stored = load_file(directory / "model.safetensors")
    read = {tensor.name.removesuffix(".weight"): tensor.data for tensor in file.tensors}
    assert len(read) == len(stored)
    for name, original in TENSORS.items():
        exact = stored[f"{original}.weight"].astype(np.float32)
        assert read[name].dtype == np.float32 and np.array_equal(read[name], exact), name


@pytest.mark.parametrize(("name", "heads"), [("q", 2), ("k", 1)])
def test_rotary_pairs_are_adjacent(directory: Path, file: Any, name: str, heads: int) -> None:
    [tensor] = [t for t in file.tensors if t.name == f"blk.0.attn_{name}.weight"]
    rows = load_file(directory / "model.safetensors")[
        f"model.layers.0.self_attn.{name}_proj.weight"
    ]
    for head in range(heads):
        for pair in range(16):
            first = tensor.data[32 * head + 2 * pair], tensor.data[32 * head + 2 * pair + 1]
            here = rows[32 * head + pair], rows[32 * head + pair + 16]
            assert np.array_equal(np.array(first), np.array(here, np.float32))


def test_vocabulary(directory: Path, file: Any) -> None:
    pieces: Any = SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))
    count = pieces.vocab_size()
    tokens, types = value(file, "tokenizer.ggml.tokens"), value(file, "tokenizer.ggml.token_type")
    assert tokens == [pieces.id_to_piece(i) for i in range(count)]
    assert value(file, "tokenizer.ggml.scores") == [pieces.get_score(i) for i in range(count)]
    kinds = {TokenType.BYTE: pieces.is_byte, TokenType.CONTROL: pieces.is_control}
    for kind, is_kind in kinds.items():
        assert [t == kind for t in types] == [is_kind(i) for i in range(count)]
    assert value(file, "tokenizer.ggml.bos_token_id") == pieces.bos_id()
    assert value(file, "tokenizer.ggml.eos_token_id") == pieces.eos_id()
    assert value(file, "tokenizer.ggml.add_bos_token") is True
    assert value(file, "tokenizer.ggml.add_space_prefix") is True


@pytest.mark.parametrize(
    ("setting", "replacement"),
    [
        (
            {
                "sliding_window": 8,
                "architectures": ["MistralForCausalLM"],
                "model_type": "mistral",
            },
            "sliding_window",
        ),
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_type"),
        ({"eos_token_id": [2, 3]}, "eos_token_id"),
    ],
)
def test_unsupported_checkpoint_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any], replacement: str
) -> None:
    config = tiny_models.text_config() | setting
    monkeypatch.setattr(tiny_models, "text_config", lambda: config)
    model = tiny_models.write(tmp_path / "model")
    with pytest.raises(NotConvertible, match=replacement):
        convert(model, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()
