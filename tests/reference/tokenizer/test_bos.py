"""The token before a text: which one, and that it is there once."""

from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model
from tokenizers import processors

from reference.bundle import Bundle
from reference.completion import complete
from reference.params import CompletionParams
from reference.prompt import prompt_ids
from reference.tokenizer.files import TokenizerError
from reference.tokenizer.hf_json import JsonTokenizer
from reference.tokenizer.loader import load_tokenizer
from reference.tokenizer.protocol import Tokenizer
from reference.tokenizer.sentencepiece import SentencePieceTokenizer
from tests.support.tokenizer_files import (
    SENTENCEPIECE,
    byte_level_file,
    metaspace_file,
    token_entry,
    write_tokenizer,
)

BEGIN, END = "<|begin|>", "<|end|>"


def with_post_processor(post_processor: Any, config: dict[str, Any] | None = None) -> JsonTokenizer:
    t = tokenizers.Tokenizer.from_str(byte_level_file())
    t.post_processor = post_processor
    return JsonTokenizer(t.to_str(), config or {})


def template(single: str) -> Any:
    return processors.TemplateProcessing(single=single, special_tokens=[(BEGIN, 0), (END, 1)])


PREFIXES: dict[str, tuple[Any, list[int]]] = {
    "token before": (template(f"{BEGIN} $A"), [0]),
    "token after": (template(f"$A {END}"), []),
    "tokens before and after": (template(f"{BEGIN} $A {END}"), [0]),
    "another token before": (template(f"{END} $A {BEGIN}"), [1]),
    "two tokens after": (template(f"$A {BEGIN} {END}"), []),
    "text alone": (template("$A"), []),
    "BERT": (processors.BertProcessing((END, 1), (BEGIN, 0)), [0]),
    "RoBERTa": (processors.RobertaProcessing((END, 1), (BEGIN, 0)), [0]),
    "sequence": (
        processors.Sequence([processors.ByteLevel(), template(f"{BEGIN} $A {END}")]),
        [0],
    ),
    "offsets only": (processors.ByteLevel(), []),
}


@pytest.mark.parametrize("case", PREFIXES)
def test_prefix_is_what_the_template_puts_before_the_text(case: str) -> None:
    post_processor, prefix = PREFIXES[case]
    t = with_post_processor(post_processor)
    plain = JsonTokenizer(byte_level_file(), {"add_bos_token": False}).encode("the cat")
    assert BEGIN not in plain and len(plain) > 0
    assert t.encode("the cat") == [*prefix, *plain] and t.encode("") == prefix
    assert [t.bos_id] == (prefix or [None])


@pytest.mark.parametrize(("model", "eos"), [(SENTENCEPIECE, "</s>"), (byte_level_file(), END)])
def test_add_eos_token_does_not_apply_to_a_prompt(
    model: bytes | str, eos: str, tmp_path: Path
) -> None:
    """The output continues the prompt."""
    config = {"add_eos_token": True, "eos_token": eos}
    plain = load_tokenizer(write_tokenizer(tmp_path / "plain", model))
    adding = load_tokenizer(write_tokenizer(tmp_path / "adding", model, tokenizer_config=config))
    assert adding.encode("the cat") == plain.encode("the cat")


@pytest.mark.parametrize("single", [f"{BEGIN} {END}", "$A $A", f"{BEGIN} $A $A"])
def test_template_without_one_place_for_the_text_is_refused(single: str) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: post_processor: must keep"):
        with_post_processor(template(single))


@pytest.mark.parametrize("single", [f"{BEGIN} {END} $A", f"{END} {BEGIN} $A {END}"])
def test_several_tokens_before_a_text_are_refused_by_name(single: str) -> None:
    with pytest.raises(TokenizerError, match=r"post_processor: puts 2 tokens .*'<\|begin\|>'"):
        with_post_processor(template(single))
    assert with_post_processor(template(single), {"add_bos_token": False}).bos_id is None


BEGIN_CONFIG = {"bos_token": BEGIN}
ADDS: list[tuple[dict[str, Any], str, int | None]] = [
    ({}, "$A", None),
    ({"add_bos_token": True, **BEGIN_CONFIG}, "$A", 0),
    ({"add_bos_token": True, **BEGIN_CONFIG}, f"$A {END}", 0),
    ({"add_bos_token": True, "bos_token": token_entry(END)}, "$A", 1),
    ({"add_bos_token": False, **BEGIN_CONFIG}, f"{BEGIN} $A", None),
    ({"add_bos_token": None, **BEGIN_CONFIG}, f"{BEGIN} $A", 0),
    ({"add_bos_token": None, **BEGIN_CONFIG}, "$A", None),
    (BEGIN_CONFIG, "$A", None),
]


@pytest.mark.parametrize(("config", "single", "bos"), ADDS)
def test_add_bos_token_of_tokenizer_json(
    config: dict[str, Any], single: str, bos: int | None
) -> None:
    assert with_post_processor(template(single), config).bos_id == bos


def sentencepiece_without_bos() -> bytes:
    proto = sentencepiece_model.ModelProto.FromString(SENTENCEPIECE)
    proto.trainer_spec.bos_id = -1
    return bytes(proto.SerializeToString())


def test_add_bos_token_of_tokenizer_model() -> None:
    for config in {}, {"add_bos_token": True}, {"add_bos_token": None}, {"bos_token": "<s>"}:
        assert SentencePieceTokenizer(SENTENCEPIECE, config).bos_id == 1
    assert SentencePieceTokenizer(SENTENCEPIECE, {"add_bos_token": False}).bos_id is None
    assert SentencePieceTokenizer(SENTENCEPIECE, {"bos_token": "</s>"}).bos_id == 2
    without = sentencepiece_without_bos()
    assert SentencePieceTokenizer(without, {}).bos_id is None
    assert SentencePieceTokenizer(without, {"bos_token": "<s>"}).bos_id == 1


def test_missing_bos_token_is_refused() -> None:
    config = {"add_bos_token": True}
    with pytest.raises(TokenizerError, match="add_bos_token is set and bos_token is not a token"):
        SentencePieceTokenizer(sentencepiece_without_bos(), config)
    with pytest.raises(TokenizerError, match="add_bos_token is set and bos_token is not a token"):
        with_post_processor(template("$A"), config)


def metaspace() -> JsonTokenizer:
    return JsonTokenizer(metaspace_file(), {"add_bos_token": True, "bos_token": "<s>"})


KINDS = {
    "sentencepiece": lambda: SentencePieceTokenizer(SENTENCEPIECE, {}),
    "byte": lambda: JsonTokenizer(byte_level_file(), {}),
    "metaspace": metaspace,
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return KINDS[request.param]()


def bos_name(tokenizer: Tokenizer) -> str:
    assert tokenizer.bos_id is not None
    return tokenizer.token_bytes(tokenizer.bos_id).decode()


@given(text=st.text("ab <s>\n", max_size=8))
def test_leading_bos_is_not_added_twice(tokenizer: Tokenizer, text: str) -> None:
    bos = bos_name(tokenizer)
    if not text.startswith(bos):
        assert tokenizer.encode(bos + text) == tokenizer.encode(text)
        assert tokenizer.encode(bos * 2 + text).count(tokenizer.bos_id or 0) == (
            tokenizer.encode(text).count(tokenizer.bos_id or 0) + 1
        )


@given(text=st.text("ab <s>\n", max_size=8), num_bos=st.integers(0, 2))
def test_encode_without_bos_keeps_one_of_the_text(
    tokenizer: Tokenizer, text: str, num_bos: int
) -> None:
    bos = bos_name(tokenizer)
    text = bos * num_bos + text
    ids = tokenizer.encode(text)
    kept = ids if text.startswith(bos) else ids[1:]
    assert tokenizer.encode(text, add_bos=False) == kept
    assert tokenizer.encode(text, add_bos=True) == ids


def test_bos_after_white_space_is_a_second_one(tokenizer: Tokenizer) -> None:
    for text in " {}a", "a{}", "a{}b", "\n{}":
        ids = tokenizer.encode(text.format(bos_name(tokenizer)))
        assert ids[0] == tokenizer.bos_id and ids.count(ids[0]) == 2


@pytest.mark.parametrize("model", [SENTENCEPIECE, byte_level_file()], ids=["model", "json"])
def test_bos_is_literal_if_the_tokenizer_adds_none(model: bytes | str, tmp_path: Path) -> None:
    name = BEGIN if isinstance(model, str) else "<s>"
    config = {"add_bos_token": False, "bos_token": name}
    t = load_tokenizer(write_tokenizer(tmp_path, model, tokenizer_config=config))
    bos = t.encode(name)
    assert len(bos) == 1 and t.encode(name * 2) == bos * 2
    assert t.encode(name * 2, add_bos=False) == bos * 2 and t.encode("", add_bos=False) == []
    assert t.encode(f"{name}a")[:1] == bos and len(t.encode(f"{name}a")) == 2


@pytest.mark.parametrize("model", [SENTENCEPIECE, byte_level_file()], ids=["model", "json"])
def test_leading_bos_includes_white_space_that_it_strips(
    model: bytes | str, tmp_path: Path
) -> None:
    name, token = (BEGIN, 0) if isinstance(model, str) else ("<s>", 1)
    entry = token_entry(name, special=True, lstrip=True, rstrip=True)
    config = {"added_tokens_decoder": {str(token): entry}, "bos_token": name}
    t = load_tokenizer(write_tokenizer(tmp_path, model, tokenizer_config=config))
    assert t.bos_id == token
    assert t.encode(f" \n{name}  the") == t.encode(f"{name}the") == t.encode("the")


def test_prompt_of_the_leading_bos_alone(model: Bundle) -> None:
    """It is the empty prompt; the echo is what was sent."""
    params = CompletionParams(temperature=0, max_tokens=4, echo=True)
    size, context = model.vocab_size, model.context
    bos = model.tokenizer.bos_id
    assert prompt_ids(model.tokenizer, "<s>", size, context) == [bos]
    [spelled], [empty] = complete(model, "<s>", params), complete(model, "", params)
    assert spelled.text == "<s>" + empty.text
