"""Lossless encoding for both kinds of tokenizer file, and decoding of arbitrary ids."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

from reference.bundle import EMBEDDED, Bundle
from reference.tokenizer.bounds import HasMaxTokenBytes, max_text_bytes
from reference.tokenizer.detokenizer import Detokenizer, decode, without_bos
from reference.tokenizer.files import TokenizerError
from reference.tokenizer.hf_json import JsonTokenizer
from reference.tokenizer.loader import load_tokenizer
from reference.tokenizer.protocol import Tokenizer
from reference.tokenizer.sentencepiece import SentencePieceTokenizer
from tests.support.strategies import TEXTS
from tests.support.texts import HARD_TEXTS
from tests.support.tokenizer_files import byte_level_file, metaspace_file


def byte_level() -> JsonTokenizer:
    return JsonTokenizer(byte_level_file(), {})


def metaspace() -> JsonTokenizer:
    config = {"add_bos_token": True, "bos_token": {"content": "<s>"}}
    return JsonTokenizer(metaspace_file(), config)


KINDS = {
    "embedded": lambda: load_tokenizer(EMBEDDED / "text"),
    "byte": byte_level,
    "metaspace": metaspace,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return KINDS[request.param]()


@given(text=TEXTS)
def test_decode_undoes_encode(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids[0] == tokenizer.bos_id
    assert decode(tokenizer, ids) == text


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_hard_texts(tokenizer: Tokenizer, text: str) -> None:
    assert decode(tokenizer, tokenizer.encode(text)) == text


@given(data=st.data(), at_start=st.booleans())
def test_incremental_decoding_equals_decoding_all_bytes(
    tokenizer: Tokenizer, data: st.DataObject, at_start: bool
) -> None:
    """Each maximal invalid part becomes one U+FFFD."""
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20))
    text = Detokenizer(tokenizer, [] if at_start else ordinary(tokenizer))
    parts = [text.push(i) for i in ids] + [text.flush()]
    whole, strip_space = b"", at_start and tokenizer.leading_space
    for i in ids:
        piece = tokenizer.token_bytes(i)
        is_text = i not in tokenizer.added_ids
        whole += piece.removeprefix(b" ") if strip_space and is_text else piece
        strip_space = i in tokenizer.space_after
    assert "".join(parts) == whole.decode(errors="replace")
    assert text.length == len("".join(parts))


def ordinary(tokenizer: Tokenizer) -> list[int]:
    """Return a prompt that ends in an ordinary token."""
    return tokenizer.encode("a")


def test_incomplete_character_is_withheld(tokenizer: Tokenizer) -> None:
    text = Detokenizer(tokenizer, ordinary(tokenizer))
    ids = [i for i in tokenizer.encode("🜁") if i != tokenizer.bos_id]
    parts = [text.push(i) for i in ids]
    assert len(ids) >= 4 and "".join(parts).strip() == "🜁" and parts[-1] == "🜁"


def test_special_token_names_encode_to_special_tokens() -> None:
    t = load_tokenizer(EMBEDDED / "text")
    end, begin = t.encode("</s>")[1], t.bos_id
    assert end in t.special_ids and t.token_bytes(end) == b"</s>"
    assert t.encode("a</s>b")[2] == end
    assert t.encode("a<s>")[2] == begin
    assert decode(t, t.encode("a</s> b<s>")) == "a</s> b<s>"
    b = byte_level()
    assert b.encode("x<|end|>")[-1] in b.special_ids


def test_spaces_survive_between_prompt_and_output(model: Bundle) -> None:
    t = model.tokenizer
    whole = t.encode("Once upon a time")
    for cut in range(2, len(whole)):
        head, tail = decode(t, whole[:cut]), Detokenizer(t, whole[:cut])
        assert head + "".join(tail.push(i) for i in whole[cut:]) == "Once upon a time"


@given(text=TEXTS | st.text("▁ ab\u3000é", max_size=40))
def test_max_token_bytes_is_an_upper_bound(tokenizer: Tokenizer, text: str) -> None:
    assert isinstance(tokenizer, HasMaxTokenBytes) and tokenizer.max_token_bytes is not None
    ids = without_bos(tokenizer, tokenizer.encode(text))
    assert len(text.encode()) <= tokenizer.max_token_bytes * len(ids)
    pieces = map(tokenizer.token_bytes, range(tokenizer.vocab_size))
    assert tokenizer.max_token_bytes <= 3 * max(map(len, pieces))


def test_space_in_a_piece_may_encode_three_bytes() -> None:
    t = metaspace()
    assert t.encode("▁▁") == t.encode("  ")
    assert max_text_bytes([b"  a", b"abcd"], byte_level=False) == len("▁▁a".encode())
    assert max_text_bytes([b"  a", b"abcd"], byte_level=True) == 4


LOSSY: dict[str, tuple[str, dict[str, Any]]] = {
    "shortening normalizer": ("byte", {"normalizer": {"type": "NFKC"}}),
    "shortening normalizer in a sequence": (
        "metaspace",
        {
            "normalizer": {
                "type": "Sequence",
                "normalizers": [{"type": "Strip", "strip_left": True, "strip_right": True}],
            }
        },
    ),
    "normalizer with a pattern": (
        "metaspace",
        {"normalizer": {"type": "Replace", "pattern": {"Regex": " +"}, "content": "▁"}},
    ),
    "normalizer that replaces a longer text": (
        "metaspace",
        {"normalizer": {"type": "Replace", "pattern": {"String": "abcd"}, "content": "▁"}},
    ),
    "pre-tokenizer that drops spaces": ("metaspace", {"pre_tokenizer": {"type": "Whitespace"}}),
    "pre-tokenizer that drops a pattern": (
        "byte",
        {
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"String": " "},
                "behavior": "Removed",
                "invert": False,
            }
        },
    ),
}


@pytest.mark.parametrize("case", LOSSY)
def test_lossy_tokenizer_has_no_max_token_bytes(case: str) -> None:
    kind, change = LOSSY[case]
    spec = json.loads(byte_level_file() if kind == "byte" else metaspace_file())
    assert JsonTokenizer(json.dumps(spec), {}).max_token_bytes is not None
    assert JsonTokenizer(json.dumps(spec | change), {}).max_token_bytes is None


@pytest.mark.parametrize("kind", ["byte", "metaspace"])
def test_token_that_strips_spaces_has_no_max_token_bytes(kind: str) -> None:
    spec = json.loads(byte_level_file() if kind == "byte" else metaspace_file())
    spec["added_tokens"][0]["rstrip"] = True
    assert JsonTokenizer(json.dumps(spec), {}).max_token_bytes is None


def test_unknown_token_makes_max_token_bytes_unbounded() -> None:
    spec = json.loads(metaspace_file())
    spec["model"]["byte_fallback"] = False
    assert JsonTokenizer(json.dumps(spec), {}).max_token_bytes is None
    spec = json.loads(metaspace_file())
    spec["model"]["vocab"]["no byte"] = spec["model"]["vocab"].pop("<0x41>")
    assert JsonTokenizer(json.dumps(spec), {}).max_token_bytes is None
    proto = sentencepiece_model.ModelProto.FromString(
        (EMBEDDED / "text" / "tokenizer.model").read_bytes()
    )
    proto.trainer_spec.byte_fallback = False
    for piece in proto.pieces:
        if piece.type == piece.BYTE:
            piece.type = piece.UNUSED
    unknown = SentencePieceTokenizer(proto.SerializeToString(), {})
    assert unknown.max_token_bytes is None and len(unknown.encode("你好，世界" * 9)) <= 3


def write(directory: Path, name: str, content: bytes) -> Path:
    (directory / name).write_bytes(content)
    return directory


BROKEN = {
    "nothing": (None, b"", "neither"),
    "not a model": ("tokenizer.model", b"\xff\xff not a model", "tokenizer.model"),
    "not json": ("tokenizer.json", b"{", "tokenizer.json"),
    "an unknown decoder": (
        "tokenizer.json",
        json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}).encode(),
        "decoder",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_is_refused_by_name(case: str, tmp_path: Path) -> None:
    name, content, message = BROKEN[case]
    directory = write(tmp_path, name, content) if name else tmp_path
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(directory)


@pytest.mark.parametrize("piece", ["two words", "▁the", "你"])
def test_piece_outside_the_byte_alphabet_is_named(piece: str, tmp_path: Path) -> None:
    spec = json.loads(byte_level_file())
    token = spec["model"]["vocab"][piece] = len(spec["model"]["vocab"])
    write(tmp_path, "tokenizer.json", json.dumps(spec).encode())
    with pytest.raises(TokenizerError, match=rf"tokenizer.json: token {token}, '{piece}': '.' is "):
        load_tokenizer(tmp_path)


TIKTOKEN = b"IQ== 0\nIg== 1\nICBhYQ== 2\n"


@pytest.mark.parametrize("model", [TIKTOKEN, TIKTOKEN.replace(b"\n", b"\r\n")])
def test_tiktoken_model_gives_way_to_tokenizer_json(model: bytes, tmp_path: Path) -> None:
    write(tmp_path, "tokenizer.model", model)
    with pytest.raises(TokenizerError, match=r"tokenizer\.model: .*tiktoken.* no tokenizer\.json"):
        load_tokenizer(tmp_path)
    write(tmp_path, "tokenizer.json", byte_level_file().encode())
    assert load_tokenizer(tmp_path).encode("the") == byte_level().encode("the")


@pytest.mark.parametrize(
    "model", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\xff\xff", b"IQ==\n"]
)
def test_broken_model_is_refused_next_to_tokenizer_json(model: bytes, tmp_path: Path) -> None:
    write(tmp_path, "tokenizer.json", byte_level_file().encode())
    write(tmp_path, "tokenizer.model", model)
    with pytest.raises(TokenizerError, match="tokenizer.model"):
        load_tokenizer(tmp_path)


BROKEN_CONFIGS = [
    *("", "{", "[]", "5", "\xff", "[" * 10**5),
    '{"added_tokens_decoder": [1]}',
    '{"added_tokens_decoder": {"3": 1}}',
    '{"added_tokens_decoder": {"x": {"content": "a"}}}',
    '{"added_tokens_decoder": {"-1": {"content": "a"}}}',
    '{"added_tokens_decoder": {"3": {"special": true}}}',
    '{"bos_token": 5}',
    '{"bos_token": {"special": true}}',
    '{"pad_token": ["<pad>"]}',
    '{"additional_special_tokens": "<x>"}',
    '{"additional_special_tokens": [5]}',
    '{"extra_special_tokens": {"image_token": 5}}',
    '{"add_bos_token": "yes"}',
    '{"added_tokens_decoder": {"3": {"content": "a", "lstrip": 1}}}',
    '{"added_tokens_decoder": {"3.5": {"content": "a"}}}',
]


@pytest.mark.parametrize("text", BROKEN_CONFIGS, ids=lambda text: repr(text)[:40])
@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_broken_config_is_refused_by_name(text: str, name: str, tmp_path: Path) -> None:
    model = (EMBEDDED / "text" / "tokenizer.model").read_bytes()
    write(tmp_path, name, model if name == "tokenizer.model" else byte_level_file().encode())
    load_tokenizer(tmp_path)
    write(tmp_path, "tokenizer_config.json", text.encode("latin-1"))
    with pytest.raises(TokenizerError, match="tokenizer_config.json: "):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"a": "b"}', '{"a": -1}', '{"a": true}', '{"a": 1.5}']
)
@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_broken_added_tokens_are_refused_by_name(text: str, name: str, tmp_path: Path) -> None:
    model = (EMBEDDED / "text" / "tokenizer.model").read_bytes()
    write(tmp_path, name, model if name == "tokenizer.model" else byte_level_file().encode())
    write(tmp_path, "added_tokens.json", text.encode())
    with pytest.raises(TokenizerError, match="added_tokens.json: "):
        load_tokenizer(tmp_path)


def test_broken_special_tokens_map_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, "tokenizer.model", (EMBEDDED / "text" / "tokenizer.model").read_bytes())
    write(tmp_path, "special_tokens_map.json", b'{"pad_token": 5}')
    with pytest.raises(TokenizerError, match=r"special_tokens_map\.json: pad_token: 5"):
        load_tokenizer(tmp_path)
