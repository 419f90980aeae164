"""lstrip, rstrip, single_word and normalized mean the same in both file formats."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.bundle import Bundle
from reference.completion import complete
from reference.params import CompletionParams
from reference.tokenizer.added_tokens import AddedToken, AddedTokens
from reference.tokenizer.detokenizer import decode, without_bos
from reference.tokenizer.files import TokenizerError
from reference.tokenizer.hf_json import JsonTokenizer
from reference.tokenizer.loader import load_tokenizer
from reference.tokenizer.protocol import Tokenizer
from reference.tokenizer.sentencepiece import SentencePieceTokenizer
from tests.support.tokenizer_files import (
    SENTENCEPIECE,
    byte_level_file,
    metaspace_file,
    normalizing_sentencepiece,
    token_entry,
    write_tokenizer,
)

CONTENTS = ("<t>", "<tt>", "é_")
TOKENS = st.fixed_dictionaries(
    {
        content: st.builds(
            AddedToken,
            content=st.just(content),
            single_word=st.booleans(),
            lstrip=st.booleans(),
            rstrip=st.booleans(),
            normalized=st.booleans(),
            special=st.booleans(),
        )
        for content in CONTENTS
    }
).map(lambda tokens: tuple(tokens.values()))
PARTS = st.sampled_from([*CONTENTS, " ", "\n", "\u00a0\u2003", "a", "_", "é", ".", "9"])
TEXTS = st.lists(PARTS, max_size=8).map("".join)


def split_once(text: str, tokens: list[AddedToken]) -> list[tuple[bool, str]]:
    """Split a text at tokens: the first match from the left, the longest of those that begin
    together. Return (whether it is a token, its text).
    """
    parts, done, position = [], 0, 0
    while position < len(text):
        matches = [t for t in tokens if text.startswith(t.content, position)]
        if not matches:
            position += 1
            continue
        token = max(matches, key=lambda t: len(t.content))
        start, end = position, position + len(token.content)
        position = end
        if token.single_word and (re.search(r"\w\Z", text[:start]) or re.match(r"\w", text[end:])):
            continue
        if token.lstrip:
            start = max(done, len(text[:start].rstrip()))
        if token.rstrip:
            end += len(text[end:]) - len(text[end:].lstrip())
        parts += [(False, text[done:start]), (True, token.content)]
        done = end
    return [*parts, (False, text[done:])]


def segments_by_definition(text: str, tokens: tuple[AddedToken, ...]) -> list[tuple[bool, str]]:
    """Split "x" and a text at its added tokens, as the documentation of `AddedToken` says;
    normalized ones are searched in what the others leave.
    """
    parts = split_once("x" + text, [token for token in tokens if not token.normalized])
    normalized = [token for token in tokens if token.normalized]
    parts = [
        part
        for is_token, segment in parts
        for part in ([(True, segment)] if is_token else split_once(segment, normalized))
    ]
    return [part for part in parts if part[1]]


def segments(tokenizer: Tokenizer, text: str, size: int) -> list[tuple[bool, str]]:
    """Split "x" and a text at the added tokens, which have the ids from `size` on."""
    parts: list[tuple[bool, bytes]] = []
    for token in without_bos(tokenizer, tokenizer.encode("x" + text)):
        piece, is_token = tokenizer.token_bytes(token), token >= size
        if is_token or not parts or parts[-1][0]:
            parts.append((is_token, piece))
        else:
            parts[-1] = False, parts[-1][1] + piece
    return [(is_token, part.decode()) for is_token, part in parts]


SP_SIZE = SentencePieceTokenizer(SENTENCEPIECE, {}).vocab_size
METASPACE_SIZE = JsonTokenizer(metaspace_file(), {}).vocab_size
JSON_SIZE = JsonTokenizer(byte_level_file(), {}).vocab_size


def at(size: int, tokens: tuple[AddedToken, ...]) -> AddedTokens:
    return {size + i: token for i, token in enumerate(tokens)}


@settings(max_examples=300)
@given(text=TEXTS, tokens=TOKENS)
def test_flags_mean_the_same_in_both_formats(text: str, tokens: tuple[AddedToken, ...]) -> None:
    expected = segments_by_definition(text, tokens)
    byte_level = JsonTokenizer(byte_level_file(), {}, at(JSON_SIZE, tokens))
    assert segments(byte_level, text, JSON_SIZE) == expected
    sentencepiece = SentencePieceTokenizer(SENTENCEPIECE, {}, at(SP_SIZE, tokens))
    (_, first), *rest = segments(sentencepiece, text, SP_SIZE)
    assert [(False, first.removeprefix(" ")), *rest] == expected


@settings(max_examples=300)
@given(text=TEXTS, tokens=TOKENS)
def test_flags_with_a_normalizer_that_escapes_spaces(
    text: str, tokens: tuple[AddedToken, ...]
) -> None:
    """The tokenizer.json of Llama 2 puts a space after each token, too. Its added tokens that are
    `normalized` are those of the text.
    """
    t = JsonTokenizer(metaspace_file(), {}, at(METASPACE_SIZE, tokens))
    plain = tuple(replace(token, normalized=False) for token in tokens)
    seen = [
        (is_token, part if is_token else part.removeprefix(" "))
        for is_token, part in segments(t, text, METASPACE_SIZE)
    ]
    assert [part for part in seen if part[1]] == segments_by_definition(text, plain)


def test_normalized_needs_no_space_before_the_token() -> None:
    token = AddedToken("<t>", normalized=True)
    t = JsonTokenizer(metaspace_file(), {}, {METASPACE_SIZE: token})
    assert t.encode("a<t>b")[1] == METASPACE_SIZE
    assert len(t.encode("a <t>")) == len(t.encode("a<t>")) + 1


def test_normalized_is_refused_by_name_with_a_prefix_and_another_normalizer() -> None:
    spec = json.loads(metaspace_file())
    spec["normalizer"]["normalizers"].insert(0, {"type": "NFKC"})
    file = "tokenizer_config.json"
    JsonTokenizer(json.dumps(spec), {}, {METASPACE_SIZE: AddedToken("<t>", file=file)})
    token = AddedToken("<t>", normalized=True, file=file)
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json: token '<t>': normalized "):
        JsonTokenizer(json.dumps(spec), {}, {METASPACE_SIZE: token})


ROLE = token_entry("<t>", normalized=True)


@pytest.mark.parametrize(
    "roles", [{"pad_token": ROLE}, {"extra_special_tokens": [ROLE]}], ids=["token", "list"]
)
def test_refused_token_with_a_role_names_its_file(roles: dict[str, Any], tmp_path: Path) -> None:
    spec = json.loads(metaspace_file())
    spec["normalizer"]["normalizers"].insert(0, {"type": "NFKC"})
    model, other = json.dumps(spec), dict.fromkeys(roles)
    for i, (config, names, file) in enumerate(
        [
            (roles, None, "tokenizer_config"),
            (None, roles, "special_tokens_map"),
            (other, roles, "special_tokens_map"),
            (roles, {"eos_token": "</s>"}, "tokenizer_config"),
        ]
    ):
        files = {"tokenizer_config": config, "special_tokens_map": names}
        directory = write_tokenizer(tmp_path / str(i), model, **files)
        with pytest.raises(TokenizerError, match=rf"^{file}\.json: token '<t>': normalized is not"):
            load_tokenizer(directory)


def normalizing_json() -> str:
    return json.dumps(json.loads(byte_level_file()) | {"normalizer": {"type": "NFKC"}})


@pytest.mark.parametrize("kind", ["sentencepiece", "json"])
def test_normalized_token_is_searched_in_the_normalized_text(kind: str) -> None:
    """NFKC writes the ligature ﬁ as two letters."""
    tokens = (AddedToken("<fi>", normalized=True), AddedToken("<fit>"))
    t: Tokenizer
    if kind == "sentencepiece":
        size = SentencePieceTokenizer(normalizing_sentencepiece(), {}).vocab_size
        t = SentencePieceTokenizer(normalizing_sentencepiece(), {}, at(size, tokens))
    else:
        size = JSON_SIZE
        t = JsonTokenizer(normalizing_json(), {}, at(size, tokens))
    assert t.encode("a<ﬁ>b").count(size) == t.encode("a<fi>b").count(size) == 1
    assert t.encode("a<ﬁt>b").count(size + 1) == 0 and t.encode("a<fit>b").count(size + 1) == 1


STRIPPING = AddedToken("<t>", lstrip=True, rstrip=True)


@pytest.mark.parametrize("flag", ["lstrip", "rstrip"])
def test_token_that_strips_white_space_has_no_max_token_bytes(flag: str) -> None:
    """It may include any number of bytes."""
    stripping = AddedToken("<t>", **{flag: True})
    for token, bounded in (AddedToken("<t>"), True), (stripping, False):
        sentencepiece = SentencePieceTokenizer(SENTENCEPIECE, {}, {SP_SIZE: token})
        byte_level = JsonTokenizer(byte_level_file(), {}, {JSON_SIZE: token})
        metaspace = JsonTokenizer(metaspace_file(), {}, {METASPACE_SIZE: token})
        for t in sentencepiece, byte_level, metaspace:
            assert (t.max_token_bytes is not None) == bounded


def test_longest_added_token_counts_in_max_token_bytes() -> None:
    for size in 10, 100:
        token = AddedToken("<" + "é" * size + ">")
        t = SentencePieceTokenizer(SENTENCEPIECE, {}, {SP_SIZE: token})
        assert t.max_token_bytes is not None and t.max_token_bytes >= 2 * size + 2
        assert t.encode("a" + token.content)[-1] == SP_SIZE


def test_token_that_strips_white_space_adds_its_text_alone_to_an_output() -> None:
    for t in (
        SentencePieceTokenizer(SENTENCEPIECE, {}, {SP_SIZE: STRIPPING}),
        JsonTokenizer(byte_level_file(), {}, {JSON_SIZE: STRIPPING}),
    ):
        added = t.vocab_size - 1
        assert t.encode("a  <t> \n").count(added) == 1 and t.encode("a  <t> \n")[-1] == added
        letter = t.encode("a")[-1]
        assert decode(t, [letter, added, added]).lstrip() == "a<t><t>"


def test_prompt_with_stripped_white_space_is_echoed_as_sent(model: Bundle) -> None:
    prompt = "The  </s>  dog \n</s> "
    stripping = {2: AddedToken("</s>", lstrip=True, rstrip=True, special=True)}
    t = SentencePieceTokenizer(SENTENCEPIECE, {}, stripping)
    echoing = Bundle.from_parts(model.checkpoint, t)
    [completion] = complete(
        echoing, prompt, CompletionParams(temperature=0, max_tokens=3, echo=True)
    )
    assert completion.text.startswith(prompt)
    assert len(t.encode(prompt)) < len(model.tokenizer.encode(prompt))
