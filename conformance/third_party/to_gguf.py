"""python -m conformance.third_party.to_gguf CHECKPOINT OUT.gguf

Converts a checkpoint directory to the single file that llama.cpp loads: float32, with the
SentencePiece vocabulary. Requires the package `gguf`, but not llama.cpp.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

from reference.model import checkpoint
from reference.model.config import LlamaConfig
from reference.tokenizer import added_tokens
from reference.tokenizer.added_tokens import AddedTokens


class NotConvertible(ValueError):
    """A checkpoint that this converter does not support."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0, or 2 after one line on stderr that names the problem of the checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m conformance.third_party.to_gguf")
    parser.add_argument("checkpoint", type=Path, help="a directory with a tokenizer.model")
    parser.add_argument("out", type=Path, help="the file to write")
    options = parser.parse_args(arguments)
    try:
        convert(options.checkpoint, options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def convert(directory: Path, out: Path) -> None:
    """Convert a checkpoint. Raises NotConvertible or a loader error; `out` is then not written."""
    gguf: Any = import_module("gguf")  # an optional package, which type checks must not need
    config = checkpoint.read_config(directory)
    check(config)
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name(directory.resolve().name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_shape(writer, config)
    add_vocabulary(writer, directory, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in checkpoint.tensors(directory, np.float32):
        renamed = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(renamed, np.ascontiguousarray(interleaved(name, tensor, config)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check(config: LlamaConfig) -> None:
    if config.rope.kind != "default":
        raise NotConvertible(
            f"rope_type: must be 'default' for conversion, got {config.rope.kind!r}"
        )
    for name in ("sliding_window", "attention_bias", "mlp_bias", "quantization"):
        if getattr(config, name):
            raise NotConvertible(f"{name}: conversion is not supported")


def add_shape(writer: Any, config: LlamaConfig) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope.theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def interleaved(name: str, tensor: np.ndarray, config: LlamaConfig) -> np.ndarray:
    """Reorder the rows of a query or key projection (heads · H, D) for llama.cpp's RoPE.

    It pairs rows 2r and 2r + 1 of a head, where Hugging Face checkpoints pair r and r + H/2. Other
    tensors are unchanged.
    """
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return tensor
    halves = tensor.reshape(-1, 2, config.head_dim // 2, config.hidden_size)
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def add_vocabulary(writer: Any, directory: Path, config: LlamaConfig) -> None:
    """Write each piece with its score and type, and the prefix of a text.

    llama.cpp merges pieces by score, as SentencePiece's BPE does; other model types are refused.
    """
    proto = sentencepiece_model.ModelProto.FromString((directory / "tokenizer.model").read_bytes())
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    if trainer.model_type != trainer.BPE or normalizer.remove_extra_whitespaces:
        raise NotConvertible("tokenizer.model: must be a BPE model that keeps white space")
    settings = added_tokens.read_config(directory)
    added = added_tokens.read_added_tokens(directory, settings)
    tokens = list(vocabulary(proto, added, config.vocab_size))
    eos = checkpoint.read_eos_token_ids(directory, config)
    if len(eos) > 1:
        raise NotConvertible(f"eos_token_id: must be a single id for GGUF, got {eos}")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece.encode() for piece, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    writer.add_bos_token_id(trainer.bos_id)
    for token in eos:
        writer.add_eos_token_id(token)
    writer.add_unk_token_id(trainer.unk_id)
    writer.add_add_bos_token(added_tokens.adds_bos(settings) is not False)
    writer.add_add_eos_token(bool(settings.get("add_eos_token", False)))
    writer.add_add_space_prefix(normalizer.add_dummy_prefix)


def vocabulary(proto: Any, added: AddedTokens, vocab_size: int) -> Iterator[tuple[str, float, int]]:
    """Yield (piece, score, type) of the ids 0 ≤ id < vocab_size.

    SentencePiece and GGUF number the types in the same way. Ids above those of the SentencePiece
    model are added tokens, or rows of the embedding that no text maps to.
    """
    kinds = sentencepiece_model.ModelProto.SentencePiece
    if len(proto.pieces) > vocab_size:
        raise NotConvertible(
            f"tokenizer.model: {len(proto.pieces)} pieces exceed the vocabulary of {vocab_size}"
        )
    for i in range(vocab_size):
        if i < len(proto.pieces):
            yield proto.pieces[i].piece, proto.pieces[i].score, proto.pieces[i].type
        elif i in added:
            kind = kinds.CONTROL if added[i].special else kinds.USER_DEFINED
            yield added[i].content, 0.0, kind
        else:
            yield f"<unused_{i}>", 0.0, kinds.UNUSED


if __name__ == "__main__":
    sys.exit(main())
