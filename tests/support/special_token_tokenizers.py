"""Tokenizers with special and added tokens, one for each way in which spaces are encoded."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import tokenizers
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from reference.bundle import EMBEDDED
from reference.tokenizer.added_tokens import merge, parse_decoder
from reference.tokenizer.hf_json import JsonTokenizer
from reference.tokenizer.loader import load_tokenizer
from reference.tokenizer.protocol import Tokenizer
from reference.tokenizer.sentencepiece import SentencePieceTokenizer

SPECIAL = ["<|im_start|>", "<|im_end|>", "<é>"]
ADDED = ["<tool>", "  <wide>"]  # not special: an output may have them
WORDS = ["the cat sat on the mat", "Hi, user said: Then once upon a time", "naïve café 12 日本"]
MODEL = EMBEDDED / "text" / "tokenizer.model"


def sentencepiece_proto() -> Any:
    """Return the embedded SentencePiece model."""
    return sentencepiece_model.ModelProto.FromString(MODEL.read_bytes())


def sentencepiece(proto: Any = None) -> SentencePieceTokenizer:
    """Return a SentencePiece tokenizer with added tokens: a space comes before the text only."""
    model = MODEL.read_bytes() if proto is None else proto.SerializeToString()
    size = len(sentencepiece_proto().pieces)
    added = {
        str(size + i): {"content": name, "special": name in SPECIAL}
        for i, name in enumerate(SPECIAL + ADDED)
    }
    config = {"added_tokens_decoder": added}
    return SentencePieceTokenizer(model, config, merge({}, parse_decoder(config)))


def add_tokens(t: tokenizers.Tokenizer, added: Iterable[AddedToken] = ()) -> None:
    t.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    t.add_tokens([AddedToken(name, normalized=False) for name in ADDED])
    t.add_tokens(list(added))


def byte_level_file(**changes: Any) -> str:
    """Return a tokenizer.json like Llama 3's, which never adds a space."""
    t = tokenizers.Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(
        WORDS,
        trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False),
    )
    add_tokens(t)
    return json.dumps(json.loads(t.to_str()) | changes)


def metaspace_file(added: Iterable[AddedToken] = (), **changes: Any) -> str:
    """Return a tokenizer.json like Llama 2's: its normalizer puts a space before the text and
    before the text after each added token.
    """
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", "▁▁"]
    pieces += [*"abHiTthen", "▁a", "ab", "▁T", "th", "Hi", "▁▁▁"]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    merges = [("▁", "▁"), ("▁", "a"), ("▁", "T"), ("a", "b"), ("t", "h"), ("H", "i"), ("▁▁", "▁")]
    t = tokenizers.Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    add_tokens(t, added)
    return json.dumps(json.loads(t.to_str()) | changes)


def metaspace_scheme(scheme: str) -> JsonTokenizer:
    """Return a tokenizer whose pre-tokenizer adds the space: always, or before the text only, and
    in neither case before a space.
    """
    pre_tokenizer = {"type": "Metaspace", "replacement": "▁", "split": False}
    changes = {"normalizer": None, "pre_tokenizer": pre_tokenizer | {"prepend_scheme": scheme}}
    return JsonTokenizer(metaspace_file(**changes), {})


@dataclass(frozen=True)
class Kind:
    """A kind of tokenizer. space_first, space_after: whether `encode` puts a space before the text,
    and before the text after an added token. keeps_space: whether it does so before a space too.
    """

    load: Callable[[], Tokenizer]
    space_first: bool
    space_after: bool
    keeps_space: bool = True


KINDS = {
    "embedded": Kind(lambda: load_tokenizer(EMBEDDED / "text"), True, False),
    "sentencepiece": Kind(sentencepiece, True, False),
    "byte-level": Kind(lambda: JsonTokenizer(byte_level_file(), {}), False, False),
    "metaspace": Kind(lambda: JsonTokenizer(metaspace_file(), {}), True, True),
    "metaspace always": Kind(lambda: metaspace_scheme("always"), True, True, False),
    "metaspace first": Kind(lambda: metaspace_scheme("first"), True, False, False),
}
