"""Ids that are never sampled, by the file that lists them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reference.bundle import EMBEDDED, Bundle, Processor, build_vocabulary, load_processor
from reference.model.config_fields import ConfigError
from reference.params import CompletionParams
from reference.sampler import allowed_tokens
from reference.stopping import resolve_stop_strings
from reference.tokenizer.hf_json import JsonTokenizer
from reference.tokenizer.loader import load_tokenizer
from reference.tokenizer.sentencepiece import SentencePieceTokenizer
from tests.support.tokenizer_files import (
    SENTENCEPIECE,
    byte_level_file,
    metaspace_file,
    token_entry,
    write_tokenizer,
)

CONFIG: dict[str, Any] = {"model_type": "llama"}
SIZES = {
    "sentencepiece": SentencePieceTokenizer(SENTENCEPIECE, {}).vocab_size,
    "json": JsonTokenizer(byte_level_file(), {}).vocab_size,
}
MODELS: dict[str, bytes | str] = {"sentencepiece": SENTENCEPIECE, "json": byte_level_file()}


@pytest.fixture(params=MODELS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def load(directory: Path, kind: str, rows: int, **files: Any) -> Processor:
    """Write a tokenizer and a config.json with so many rows more than the tokenizer has ids, and
    load both.
    """
    config = CONFIG | {"vocab_size": SIZES[kind] + rows} | files.pop("config", {})
    directory = write_tokenizer(directory, MODELS[kind], config=config, **files)
    return load_processor(directory)


def test_rows_beyond_the_tokenizer_are_never_sampled(kind: str, tmp_path: Path) -> None:
    n = SIZES[kind]
    plain = load(tmp_path / "plain", kind, 0).vocabulary
    padded = load(tmp_path / "padded", kind, 64).vocabulary
    assert padded.disallowed_token_ids - plain.disallowed_token_ids == {*range(n, n + 64)}
    assert len(padded.pieces) == n + 64 and padded.pieces[n:] == (b"",) * 64


SOURCES: dict[str, dict[str, Any]] = {
    "tokenizer_config.json, flag": {
        "tokenizer_config": {"added_tokens_decoder": {"0": token_entry("<p>", special=True)}}
    },
    "tokenizer_config.json, padding": {
        "tokenizer_config": {
            "added_tokens_decoder": {"0": token_entry("<p>")},
            "pad_token": "<p>",
        }
    },
    "tokenizer_config.json, unknown": {
        "tokenizer_config": {
            "added_tokens_decoder": {"0": token_entry("<p>")},
            "unk_token": "<p>",
        }
    },
    "special_tokens_map.json": {
        "added_tokens": {"<p>": 0},
        "special_tokens_map": {"pad_token": "<p>"},
    },
    "config.json": {"added_tokens": {"<p>": 0}, "config": {"pad_token_id": 0}},
    "generation_config.json": {
        "added_tokens": {"<p>": 0},
        "generation_config": {"pad_token_id": 0},
        "config": {"pad_token_id": 1},
    },
}


def shifted(content: Any, n: int) -> Any:
    """Return the content of files with n added to each id."""
    if isinstance(content, dict):
        return {
            str(int(name) + n) if name.isdigit() else name: shifted(value, n)
            for name, value in content.items()
        }
    return content + n if type(content) is int else content


@pytest.mark.parametrize("source", SOURCES)
def test_padding_and_unknown_tokens_are_never_sampled(
    kind: str, source: str, tmp_path: Path
) -> None:
    """Unless they end the output."""
    n = SIZES[kind]
    processor = load(tmp_path, kind, 3, **shifted(SOURCES[source], n))
    vocabulary, tokenizer = processor.vocabulary, processor.tokenizer
    assert n in vocabulary.disallowed_token_ids and tokenizer.encode("a<p>")[-1] == n
    for ends in frozenset({5}), frozenset({5, n}):
        allowed = allowed_tokens(n + 3, vocabulary.disallowed_token_ids, ends)
        assert allowed[n] == (n in ends) and allowed[5] and not allowed[n + 1 :].any()


def test_unknown_piece_is_never_sampled() -> None:
    sentencepiece = SentencePieceTokenizer(SENTENCEPIECE, {})
    spec = json.loads(metaspace_file()) | {"added_tokens": []}
    for t in sentencepiece, JsonTokenizer(json.dumps(spec), {}):
        assert t.token_bytes(0) == b"<unk>" and 0 in t.special_ids


def test_tokens_beyond_the_model_are_left_out(kind: str, tmp_path: Path) -> None:
    n = SIZES[kind]
    roles = {"pad_token": "[PAD]", "sep_token": "[SEP]"}
    vocabulary = load(tmp_path, kind, 1, tokenizer_config=roles).vocabulary
    assert len(vocabulary.pieces) == n + 1 and vocabulary.pieces[n] == b"[SEP]"
    assert n in vocabulary.disallowed_token_ids and max(vocabulary.disallowed_token_ids) == n


def test_bos_beyond_the_model_is_refused(kind: str, tmp_path: Path) -> None:
    config = {"bos_token": "<start>", "add_bos_token": True}
    if kind == "json":
        spec = json.loads(byte_level_file()) | {"post_processor": None}
        directory = write_tokenizer(tmp_path, json.dumps(spec), tokenizer_config=config)
    else:
        directory = write_tokenizer(tmp_path, SENTENCEPIECE, tokenizer_config=config)
    (directory / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": SIZES[kind]}))
    assert load_tokenizer(directory).bos_id == SIZES[kind]
    with pytest.raises(ConfigError, match=rf"vocab_size: {SIZES[kind]} leaves out .*BOS"):
        load_processor(directory)


def test_vocabulary_of_the_embedded_model_is_unchanged(model: Bundle) -> None:
    processor = load_processor(EMBEDDED / "text")
    assert processor.vocabulary.disallowed_token_ids == {0, 1, 2}
    assert build_vocabulary(model.tokenizer, model.checkpoint.config).bos_id == 1


@pytest.mark.parametrize(("piece", "names"), [("ÿ", []), ("Ã", []), ("a", ["a"])])
def test_special_piece_that_is_not_utf8_has_no_name(
    model: Bundle, piece: str, names: list[str]
) -> None:
    """A stop string cannot name it, not even by the replacement character."""
    spec = json.loads(byte_level_file())
    spec["model"]["unk_token"] = piece
    tokenizer = JsonTokenizer(json.dumps(spec), {})
    token = spec["model"]["vocab"][piece]
    config = replace(model.checkpoint.config, vocab_size=tokenizer.vocab_size)
    vocabulary = build_vocabulary(tokenizer, config)
    assert token in vocabulary.disallowed_token_ids
    special = {"<|begin|>": (0,), "<|end|>": (1,)}
    assert vocabulary.special_names == special | dict.fromkeys(names, (token,))
    params = CompletionParams(stop=("\ufffd", piece))
    expected = (token,) if names else ()
    assert resolve_stop_strings(params, vocabulary).stop_token_ids == expected
