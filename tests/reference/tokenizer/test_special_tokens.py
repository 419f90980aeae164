"""Texts that contain special and added tokens: lossless echo, and offsets that spell the tokens."""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from sentencepiece import SentencePieceTrainer
from tokenizers import AddedToken

from reference.bundle import Bundle, build_vocabulary
from reference.grammar.response_format import compile_format
from reference.grammar.token_mask import GrammarMatcher
from reference.output_text import echo, prompt_text, start_choice
from reference.params import CompletionParams
from reference.request import TokenGenerated, TokenLogprobs
from reference.tokenizer.detokenizer import Detokenizer, decode, token_offsets
from reference.tokenizer.hf_json import JsonTokenizer
from reference.tokenizer.protocol import Tokenizer
from tests.support.special_token_tokenizers import (
    ADDED,
    KINDS,
    SPECIAL,
    Kind,
    byte_level_file,
    metaspace_file,
    sentencepiece,
    sentencepiece_proto,
)

COUNT = 20_000
TOKENS = [*SPECIAL, *ADDED, "<s>", "</s>", "<unk>"]
WORDS = ["Hi", "user", " said", "Then", "a", " a", "ab", " ", "  ", "   ", "\n", "é", "日本", "🜁"]
WORDS += ["<", "|>", "<|im_", "\u0301", "\ufffd", "\x00"]


def texts(seed: int) -> Iterator[str]:
    """Yield random texts of at most eight parts, half of which are tokens."""
    rng = random.Random(seed)
    for _ in range(COUNT):
        parts = [
            rng.choice(TOKENS if rng.random() < 0.5 else WORDS) for _ in range(rng.randrange(9))
        ]
        text = "".join(parts)
        while text.startswith("<s>"):  # a BOS that is written out is a topic of its own
            text = text.removeprefix("<s>")
        yield text


@cache
def load(name: str) -> Tokenizer:
    return KINDS[name].load()


def spelled_offsets(kind: Kind, tokenizer: Tokenizer, ids: list[int], text: str) -> list[int]:
    """Return the character of the text in which the first byte of each token is.

    Raises AssertionError if the tokens do not spell the text.
    """
    raw, offsets, byte = text.encode(), [], 0
    characters = [i for i, c in enumerate(text) for _ in c.encode()] + [len(text)]
    if tokenizer.bos_id is not None:
        ids, offsets = ids[1:], [0]
    has_space = kind.space_first
    for token in ids:
        offsets.append(characters[byte])
        piece = tokenizer.token_bytes(token)
        is_added = token in tokenizer.added_ids
        if has_space and not is_added and (kind.keeps_space or raw[byte : byte + 1] != b" "):
            piece = piece.removeprefix(b" ")
        assert raw[byte : byte + len(piece)] == piece
        byte += len(piece)
        has_space = is_added and kind.space_after
    assert byte == len(raw)
    return offsets


def decodable(kind: Kind, tokenizer: Tokenizer, text: str) -> str:
    """Return the text without the spaces that `encode` cannot distinguish from those it adds."""
    if kind.keeps_space:
        return text
    names = "|".join(re.escape(tokenizer.token_bytes(i).decode()) for i in tokenizer.added_ids)
    first, *rest = re.split(f"({names})", text)
    single = re.compile("^ (?=[^ ])", re.DOTALL)
    rest[1::2] = [single.sub("", part) if kind.space_after else part for part in rest[1::2]]
    return "".join([single.sub("", first), *rest])


@pytest.mark.parametrize("name", KINDS)
def test_offsets_spell_tokens_of_random_texts(name: str) -> None:
    kind, tokenizer = KINDS[name], load(name)
    lossless = 0
    for text in texts(1):
        ids = tokenizer.encode(text)
        offsets = token_offsets(tokenizer, ids, text)
        assert offsets == spelled_offsets(kind, tokenizer, ids, text), text
        decoded = prompt_text(tokenizer, ids)
        lossless += decoded == text
        assert decoded == decodable(kind, tokenizer, text)
        assert tokenizer.encode(decoded) == ids, text
    assert lossless > COUNT / 2


@pytest.mark.parametrize("name", KINDS)
def test_own_offsets_of_tokenizer_spell_tokens(name: str) -> None:
    kind, tokenizer = KINDS[name], load(name)
    for text in list(texts(2))[::10]:
        expected = spelled_offsets(kind, tokenizer, tokenizer.encode(text), text)
        assert tokenizer.offsets(text) == expected, text


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.keeps_space])
def test_output_continues_prompt(name: str) -> None:
    """However a text is divided into prompt and output, both together are the text."""
    tokenizer, rng, borders = load(name), random.Random(0), 0
    for text in list(texts(3))[::10]:
        ids = tokenizer.encode(text)
        cut = rng.randrange(1, len(ids) + 1) if ids else 0
        detokenizer = Detokenizer(tokenizer, ids[:cut])
        output = "".join(map(detokenizer.push, ids[cut:])) + detokenizer.flush()
        is_whole = "\ufffd" not in text + decode(tokenizer, ids[:cut])
        if is_whole:
            assert decode(tokenizer, ids[:cut]) + output == decode(tokenizer, ids)
            borders += 1
    assert borders > COUNT / 40


EXAMPLE = "Hi<|im_end|>\n<|im_start|>user said<|im_end|>Then"


@pytest.mark.parametrize("name", [name for name in KINDS if name != "embedded"])
def test_echo_of_chat_format(name: str) -> None:
    tokenizer, params = load(name), CompletionParams(echo=True, logprobs=0)
    ids = tokenizer.encode(EXAMPLE)
    logprobs = [None, *(TokenLogprobs(i, -1.0, ()) for i in ids[1:])]
    as_text = echo(tokenizer, params, ids, prompt_text(tokenizer, EXAMPLE), logprobs)
    as_ids = echo(tokenizer, params, ids, prompt_text(tokenizer, ids), logprobs)
    assert as_text == as_ids and as_text.text == EXAMPLE
    offsets = {e.offset for e in as_text.entries if e.token in SPECIAL}
    assert offsets == {2, 13, 34}
    output = start_choice(tokenizer, params, ids[:-1], EXAMPLE).push(
        TokenGenerated(choice=0, token=ids[-1], finish_reason="length")
    )
    assert EXAMPLE.endswith(output.text) and output.text.strip()


def spans(tokenizer: Tokenizer, text: str) -> list[tuple[bytes, str]]:
    """Return each token, except BOS, and the part of the text from its offset to the next one."""
    ids = tokenizer.encode(text)
    offsets = [*token_offsets(tokenizer, ids, text), len(text)]
    assert offsets == sorted(offsets)
    parts = [text[a:b] for a, b in zip(offsets, offsets[1:], strict=False)]
    pieces = [(tokenizer.token_bytes(i), p) for i, p in zip(ids, parts, strict=True)]
    return pieces[tokenizer.bos_id is not None :]


def normalizing_sentencepiece() -> Tokenizer:
    """Return a SentencePiece tokenizer that normalizes with NFKC."""
    models: list[bytes] = []

    class Writer:
        write = staticmethod(models.append)

    SentencePieceTrainer.train(
        sentence_iterator=iter(["a b ab fi 1"]),
        model_writer=Writer,
        vocab_size=12,
        hard_vocab_limit=False,
        normalization_rule_name="nfkc",
        minloglevel=2,
    )
    proto, trained = sentencepiece_proto(), type(sentencepiece_proto()).FromString(models[0])
    charsmap = trained.normalizer_spec.precompiled_charsmap
    assert charsmap
    proto.normalizer_spec.precompiled_charsmap = charsmap
    return sentencepiece(proto)


def sentencepiece_without_bytes() -> Tokenizer:
    """Return a SentencePiece tokenizer whose unknown characters are one token per run."""
    proto = sentencepiece_proto()
    proto.trainer_spec.byte_fallback = False
    for piece in proto.pieces:
        if piece.type == piece.BYTE:
            piece.type = piece.UNUSED
    return sentencepiece(proto)


def with_spaces_absorbed() -> Tokenizer:
    token = AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False)
    return JsonTokenizer(metaspace_file([token]), {})


NFKC = {"type": "NFKC"}
TRIMMED = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
LOSSY: dict[str, tuple[Any, str, list[tuple[bytes, str]]]] = {
    "SentencePiece with NFKC": (
        normalizing_sentencepiece,
        "ﬁ<tool>①",
        [(b"", "ﬁ"), (b"<tool>", "<tool>"), (b"1", "①")],
    ),
    "SentencePiece without bytes": (
        sentencepiece_without_bytes,
        "你好<tool>你 <|im_end|>",
        [(b" ", ""), (b"<unk>", "你好"), (b"<tool>", "<tool>"), (b"<unk>", "你"), (b" ", " ")]
        + [(b"<|im_end|>", "<|im_end|>")],
    ),
    "byte-level with NFKC and trimmed offsets": (
        lambda: JsonTokenizer(byte_level_file(normalizer=NFKC, post_processor=TRIMMED), {}),
        "① a<|im_end|> ab",
        [(b"1", "①"), (b" a", " a"), (b"<|im_end|>", "<|im_end|>"), (b" a", " a"), (b"b", "b")],
    ),
    "token that absorbs spaces": (
        with_spaces_absorbed,
        "a <mask> ab",
        [(b" a", "a"), (b"<mask>", " <mask> "), (b" a", "a"), (b"b", "b")],
    ),
}


@pytest.mark.parametrize("name", LOSSY)
def test_offsets_refer_to_text_as_sent(name: str) -> None:
    build, text, expected = LOSSY[name]
    tokenizer = build()
    actual = spans(tokenizer, text)
    if name == "SentencePiece with NFKC":  # how "fi" is divided depends on the trained pieces
        actual = [(b"", "".join(part for _, part in actual[:-2])), *actual[-2:]]
    assert actual == expected
    assert decode(tokenizer, tokenizer.encode(text)) != text


def test_added_token_that_must_be_a_word_is_followed_by_a_space() -> None:
    token = AddedToken("<word>", single_word=True, normalized=False)
    tokenizer = JsonTokenizer(metaspace_file([token]), {})
    text = "a <word>, <word> b"
    assert decode(tokenizer, tokenizer.encode(text)) == text


def test_echo_of_normalized_added_token() -> None:
    tokenizer = JsonTokenizer(metaspace_file([AddedToken("<n>", normalized=True)]), {})
    assert decode(tokenizer, tokenizer.encode("<n>ab")) == "<n>ab"


def longest(tokenizer: Tokenizer, rng: random.Random, ids: np.ndarray) -> int:
    """Return an added token if these include one, else one of the longest, or any."""
    added = [int(i) for i in ids if i in tokenizer.added_ids - tokenizer.special_ids]
    ranked = sorted(map(int, ids), key=lambda i: len(tokenizer.token_bytes(i)))
    return rng.choice(added or (ranked[-2:] if rng.random() < 0.7 else ranked))


@pytest.mark.parametrize("name", KINDS)
def test_constrained_output_follows_any_token(model: Bundle, name: str) -> None:
    """The text of an output is in the language, whichever token is before it."""
    tokenizer, pattern = load(name), "(<tool> ab|  <wide> ab|ab){1,6}Then"
    config = replace(model.checkpoint.config, vocab_size=tokenizer.vocab_size)
    vocabulary, rng = build_vocabulary(tokenizer, config), random.Random(0)
    language = compile_format({"type": "regex", "regex": pattern})
    assert language is not None
    for prompt in ([], tokenizer.encode("a"), *([i] for i in sorted(tokenizer.added_ids))):
        strip_space = vocabulary.strips_leading_space(prompt)
        end = frozenset({min(tokenizer.special_ids)})
        matcher = GrammarMatcher(language, vocabulary, end, strip_space=strip_space)
        detokenizer, text = Detokenizer(tokenizer, prompt), ""
        while (token := longest(tokenizer, rng, np.flatnonzero(matcher.allowed()))) not in end:
            matcher.push(token)
            text += detokenizer.push(token)
        assert re.fullmatch(pattern, text + detokenizer.flush()), text
