"""Added tokens: every file that lists some, contradictions, and roles that make them special.

The ids were compared with those of `LlamaTokenizer` in transformers 4.57, on the same files.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

from reference.tokenizer.detokenizer import decode
from reference.tokenizer.files import TokenizerError
from reference.tokenizer.loader import load_tokenizer
from tests.support.tokenizer_files import (
    SENTENCEPIECE,
    byte_level_file,
    metaspace_file,
    token_entry,
    write_tokenizer,
)

MODELS: dict[str, bytes | str] = {
    "sentencepiece": SENTENCEPIECE,
    "byte": byte_level_file(),
    "metaspace": metaspace_file(),
}
START, END = "<|im_start|>", "<|im_end|>"


@pytest.fixture(params=MODELS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def size(kind: str) -> int:
    """The number of tokens without added ones."""
    model = MODELS[kind]
    if isinstance(model, bytes):
        return len(sentencepiece_model.ModelProto.FromString(model).pieces)
    return len(json.loads(model)["model"]["vocab"])


def with_list(kind: str, *tokens: dict[str, Any]) -> str:
    """The tokenizer.json of a kind, with further `added_tokens`. Next to a tokenizer.model only
    that list is read.
    """
    model = MODELS[kind]
    spec = json.loads(model) if isinstance(model, str) else {"added_tokens": []}
    return json.dumps(spec | {"added_tokens": [*spec["added_tokens"], *tokens]})


SOURCES = ("added_tokens.json", "tokenizer.json", "tokenizer_config.json")


def write(directory: Path, kind: str, tokens: dict[str, dict[int, dict[str, Any]]]) -> Path:
    """Write a tokenizer with the added tokens of each source: {source: {id: entry}}."""
    write_tokenizer(directory, MODELS[kind])
    for source, entries in tokens.items():
        if source == "added_tokens.json":
            content = json.dumps({entry["content"]: i for i, entry in entries.items()})
        elif source == "tokenizer.json":
            content = with_list(kind, *({"id": i, **entry} for i, entry in entries.items()))
        else:
            content = json.dumps({"added_tokens_decoder": {str(i): e for i, e in entries.items()}})
        (directory / source).write_text(content, "utf-8")
    return directory


@pytest.mark.parametrize("source", SOURCES)
def test_token_of_any_file_is_one_id(kind: str, source: str, tmp_path: Path) -> None:
    n = size(kind)
    entries = {n: token_entry(START), n + 1: token_entry(END)}
    t = load_tokenizer(write(tmp_path, kind, {source: entries}))
    assert t.vocab_size == n + 2
    assert t.token_bytes(n) == START.encode() and t.token_bytes(n + 1) == END.encode()
    ids = t.encode(f"a{START}b{END}{END}")
    assert [i for i in ids if i >= n] == [n, n + 1, n + 1]
    assert not t.special_ids & {n, n + 1}
    assert decode(t, t.encode(f"{START}c{END}")).replace(" ", "") == f"{START}c{END}"


def test_files_complete_each_other(kind: str, tmp_path: Path) -> None:
    n = size(kind)
    names = [START, END, "<x>"]
    tokens = {
        source: {n + i: token_entry(names[i]), n + (i + 1) % 3: token_entry(names[(i + 1) % 3])}
        for i, source in enumerate(SOURCES)
    }
    t = load_tokenizer(write(tmp_path, kind, tokens))
    assert [i for i in t.encode("a" + "a".join(names)) if i >= n] == [n, n + 1, n + 2]


def test_id_after_a_gap_is_kept(kind: str, tmp_path: Path) -> None:
    n = size(kind)
    for source in SOURCES:
        t = load_tokenizer(write(tmp_path / source, kind, {source: {n + 3: token_entry(START)}}))
        assert t.encode(f"a{START}")[-1] == n + 3 and t.vocab_size == n + 4
        assert t.special_ids >= {n, n + 1, n + 2} and t.token_bytes(n + 1) == b""


CONTRADICTIONS = [(first, second) for i, first in enumerate(SOURCES) for second in SOURCES[i + 1 :]]


@pytest.mark.parametrize(("first", "second"), CONTRADICTIONS)
def test_contradiction_names_both_files(kind: str, first: str, second: str, tmp_path: Path) -> None:
    n = size(kind)
    two_texts = {first: {n: token_entry(START)}, second: {n: token_entry(END)}}
    with pytest.raises(
        TokenizerError, match=rf"{second}: token {n} is .*im_end.*im_start.*{first}"
    ):
        load_tokenizer(write(tmp_path / "texts", kind, two_texts))
    two_ids = {
        first: {n: token_entry(START)},
        second: {n + 1: token_entry(START), n: token_entry(START)},
    }
    with pytest.raises(TokenizerError, match=rf"{second}: token .*im_start.* {n + 1}, but {n} in "):
        load_tokenizer(write(tmp_path / "ids", kind, two_ids))


def test_contradiction_within_a_file_is_refused(kind: str, tmp_path: Path) -> None:
    n = size(kind)
    text = with_list(kind, *({"id": n, **token_entry(name)} for name in (START, END)))
    directory = write_tokenizer(tmp_path / "list", MODELS[kind])
    (directory / "tokenizer.json").write_text(text)
    with pytest.raises(TokenizerError, match=rf"tokenizer\.json: token {n} is"):
        load_tokenizer(directory)
    files = {"added_tokens": {START: n, END: n}}
    with pytest.raises(TokenizerError, match=rf"added_tokens\.json: token {n} is"):
        load_tokenizer(write_tokenizer(tmp_path / "ids", MODELS[kind], **files))


@pytest.mark.parametrize("source", SOURCES)
def test_contradiction_with_the_vocabulary_is_refused(
    kind: str, source: str, tmp_path: Path
) -> None:
    n = size(kind)
    letter = load_tokenizer(write_tokenizer(tmp_path / "plain", MODELS[kind])).encode("xa")[-1]
    renamed = {source: {letter: token_entry(START)}}
    with pytest.raises(TokenizerError, match=rf"{source}: token {letter} is .*im_start.*but 'a'"):
        load_tokenizer(write(tmp_path / "renamed", kind, renamed))
    moved = {source: {n: token_entry("a")}}
    with pytest.raises(TokenizerError, match=rf"{source}: token 'a' has the id {n}, but {letter}"):
        load_tokenizer(write(tmp_path / "moved", kind, moved))


def test_added_token_takes_the_place_of_a_control_piece(tmp_path: Path) -> None:
    entries = {2: token_entry(END, special=True)}
    t = load_tokenizer(write(tmp_path, "sentencepiece", {"tokenizer_config.json": entries}))
    assert t.encode(f"a{END}")[-1] == 2 and t.token_bytes(2) == END.encode() and 2 in t.special_ids
    assert 2 not in t.encode("</s>")


def test_flags_of_the_first_file_take_precedence(kind: str, tmp_path: Path) -> None:
    """tokenizer_config.json, then tokenizer.json, then added_tokens.json, which has none."""
    n = size(kind)
    stripping, plain = {n: token_entry(END, rstrip=True)}, {n: token_entry(END)}
    files = {"added_tokens.json": plain, "tokenizer.json": stripping}
    t = load_tokenizer(write(tmp_path / "list", kind, files))
    assert t.encode(f"a{END}  ")[-1] == n
    t = load_tokenizer(write(tmp_path / "both", kind, files | {"tokenizer_config.json": plain}))
    assert t.encode(f"a{END}  ")[-1] != n
    special = {n: token_entry(END, special=True)}
    files = {"tokenizer.json": special, "tokenizer_config.json": plain}
    assert n not in load_tokenizer(write(tmp_path / "plain", kind, files)).special_ids
    files = {"tokenizer.json": plain, "tokenizer_config.json": special}
    assert n in load_tokenizer(write(tmp_path / "special", kind, files)).special_ids


ROLES: list[dict[str, Any]] = [
    {"pad_token": END},
    {"eos_token": {"content": END}},
    {"unk_token": token_entry(END)},
    {"additional_special_tokens": ["<x>", END]},
    {"additional_special_tokens": [token_entry(END)]},
    {"extra_special_tokens": {"image_token": END}},
    {"extra_special_tokens": [END]},
]


@pytest.mark.parametrize("roles", ROLES, ids=str)
@pytest.mark.parametrize("name", ["tokenizer_config", "special_tokens_map"])
def test_token_with_a_role_is_special(
    kind: str, name: str, roles: dict[str, Any], tmp_path: Path
) -> None:
    n = size(kind)
    files = {"added_tokens": {START: n, END: n + 1}, name: roles}
    t = load_tokenizer(write_tokenizer(tmp_path, MODELS[kind], **files))
    assert n + 1 in t.special_ids and n not in t.special_ids
    assert t.encode(f"a{END}")[-1] == n + 1


def test_special_tokens_map_replaces_roles_unless_there_is_a_decoder(
    kind: str, tmp_path: Path
) -> None:
    n = size(kind)
    files: dict[str, Any] = {
        "added_tokens": {START: n, END: n + 1},
        "tokenizer_config": {"pad_token": START},
        "special_tokens_map": {"pad_token": END},
    }
    t = load_tokenizer(write_tokenizer(tmp_path / "replaced", MODELS[kind], **files))
    assert t.special_ids & {n, n + 1} == {n + 1}
    files["tokenizer_config"]["added_tokens_decoder"] = {str(n): token_entry(START)}
    t = load_tokenizer(write_tokenizer(tmp_path / "decoder", MODELS[kind], **files))
    assert t.special_ids & {n, n + 1} == {n}


def test_role_without_an_id_takes_the_next_one(kind: str, tmp_path: Path) -> None:
    n = size(kind)
    files = {
        "added_tokens": {START: n},
        "tokenizer_config": {"pad_token": "[PAD]", "additional_special_tokens": ["<x>", START]},
    }
    t = load_tokenizer(write_tokenizer(tmp_path, MODELS[kind], **files))
    assert [i for i in t.encode(f"a<x>[PAD]{START}") if i >= n] == [n + 2, n + 1, n]
    assert t.special_ids >= {n, n + 1, n + 2} and t.vocab_size == n + 3


def test_role_of_a_piece_makes_it_one_special_token(kind: str, tmp_path: Path) -> None:
    plain = load_tokenizer(write_tokenizer(tmp_path / "plain", MODELS[kind]))
    letter = plain.encode("xa")[-1]
    files = {"tokenizer_config": {"pad_token": "a"}}
    t = load_tokenizer(write_tokenizer(tmp_path / "role", MODELS[kind], **files))
    assert letter not in plain.special_ids and letter in t.special_ids
    assert t.encode("xab").count(letter) == 1 and t.vocab_size == plain.vocab_size


@pytest.mark.parametrize(
    ("config", "generation", "padding"),
    [
        ({"pad_token_id": 0}, None, 0),
        ({"pad_token_id": 0}, {}, 0),
        ({"pad_token_id": 0}, {"pad_token_id": 1}, 1),
        ({"pad_token_id": 0}, {"pad_token_id": None}, 0),
        ({"text_config": {"pad_token_id": 1}}, None, 1),
        ({"pad_token_id": -1}, None, None),
        ({"pad_token_id": None}, None, None),
        ({}, None, None),
    ],
)
def test_padding_token_of_the_model_is_special(
    kind: str,
    config: dict[str, Any],
    generation: dict[str, Any] | None,
    padding: int | None,
    tmp_path: Path,
) -> None:
    """pad_token_id counts from the first added token here."""
    n = size(kind)

    def shifted(fields: Any) -> Any:
        if isinstance(fields, dict):
            return {name: shifted(value) for name, value in fields.items()}
        return fields if fields in (None, -1) else n + fields

    files = {"added_tokens": {START: n, END: n + 1}}
    files |= {"config": shifted(config), "generation_config": shifted(generation)}
    t = load_tokenizer(write_tokenizer(tmp_path, MODELS[kind], **files))
    assert t.special_ids & {n, n + 1} == (set() if padding is None else {n + padding})


def test_padding_with_an_ordinary_piece_leaves_it_text(kind: str, tmp_path: Path) -> None:
    """Some models pad with a piece such as "!", which they also generate."""
    plain = load_tokenizer(write_tokenizer(tmp_path / "plain", MODELS[kind]))
    files = {"config": {"pad_token_id": plain.encode("xa")[-1]}}
    t = load_tokenizer(write_tokenizer(tmp_path / "padded", MODELS[kind], **files))
    assert t.special_ids == plain.special_ids


def test_unknown_token_of_tokenizer_json_is_special(tmp_path: Path) -> None:
    spec = json.loads(metaspace_file()) | {"added_tokens": []}
    t = load_tokenizer(write_tokenizer(tmp_path, json.dumps(spec)))
    assert t.special_ids == {spec["model"]["vocab"]["<unk>"]}


@pytest.mark.parametrize("kind", ["sentencepiece", "metaspace"])
def test_added_token_that_is_a_piece_keeps_its_text(kind: str, tmp_path: Path) -> None:
    """ "▁" is a space in a piece that the model generates, also if a file lists the piece."""
    plain = load_tokenizer(write_tokenizer(tmp_path / "plain", MODELS[kind]))
    piece = next(i for i in range(plain.vocab_size) if plain.token_bytes(i) == b" a")
    listed = {"tokenizer.json": {piece: token_entry("▁a")}}
    t = load_tokenizer(write(tmp_path / "listed", kind, listed))
    assert t.token_bytes(piece) == b" a" and piece not in t.special_ids
    assert t.encode("b▁a")[-1] == t.encode("b a")[-1] == piece
    special = {"tokenizer.json": {piece: token_entry("▁a", special=True)}}
    t = load_tokenizer(write(tmp_path / "special", kind, special))
    assert t.token_bytes(piece) == "▁a".encode() and piece in t.special_ids


def test_added_token_of_a_byte_level_file_has_its_own_bytes(tmp_path: Path) -> None:
    """Its text is not in the alphabet of the pieces."""
    n = size("byte")
    entries = {n: token_entry("é x ｜▁")}
    t = load_tokenizer(write(tmp_path, "byte", {"tokenizer_config.json": entries}))
    assert t.token_bytes(n) == "é x ｜▁".encode() and t.encode("aé x ｜▁b").count(n) == 1
