"""Special tokens over HTTP, on both backends: as stop strings, and in the echo of a prompt."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.engine import ServedModel
from reference.tokenizer.detokenizer import decode
from tests.api.http_client import Json, choice, join_events, stream

EOS = 2
NAMES = ("<s>", "</s>", "<unk>")


@pytest.fixture(scope="module", params=["reference", "jax"])
def served(request: pytest.FixtureRequest) -> ServedModel:
    model: ServedModel = request.getfixturevalue(f"{request.param}_served")
    return model


@pytest.fixture(scope="module")
def client(served: ServedModel) -> Iterator[TestClient]:
    with TestClient(create_app([served])) as client:
        yield client


def answer(client: TestClient, served: ServedModel, *, streamed: bool, **body: Any) -> Json:
    """Return the only choice of a completion, streamed or not."""
    body = {"model": served.name, "logprobs": 0} | body
    if not streamed:
        return choice(client, **body)
    [result] = join_events(stream(client, **body))["choices"]
    return dict(result)


def after_end(served: ServedModel, text: str) -> Json:
    """Return a prompt of the ids of a text and end-of-sequence, after which the most likely token
    is BOS. The penalty makes a second end-of-sequence unlikely.
    """
    prompt = [*served.tokenizer.encode(text, add_bos=False), EOS]
    return {"prompt": prompt, "temperature": 0, "repetition_penalty": 5, "max_tokens": 5}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("stops", "reason"),
    [
        ({"stop": ["<s>"]}, "<s>"),
        ({"stop": ["<unk>", "x", "<s>"]}, "<s>"),
        ({"stop": ["<s>"], "stop_token_ids": [1]}, 1),
        ({"stop_token_ids": [1]}, 1),
    ],
    ids=str,
)
def test_stop_string_that_names_special_token(
    client: TestClient, served: ServedModel, stops: Json, reason: str | int, streamed: bool
) -> None:
    body = after_end(served, "The dog sat.") | stops
    result = answer(client, served, streamed=streamed, **body)
    assert (result["text"], result["finish_reason"]) == ("", "stop")
    assert result["stop_reason"] == reason and type(result["stop_reason"]) is type(reason)
    assert result["logprobs"]["tokens"] == ["<s>"] and result["logprobs"]["text_offset"] == [0]


@pytest.mark.parametrize("stop", [["<s> "], ["x<s>"], ["<S>"], []], ids=str)
def test_other_stop_strings_leave_special_tokens_masked(
    client: TestClient, served: ServedModel, stop: list[str]
) -> None:
    body = after_end(served, "The dog sat.") | {"stop": stop}
    result = answer(client, served, streamed=False, **body)
    assert (result["finish_reason"], result["stop_reason"]) == ("length", None)
    assert len(result["text"]) > 5 and not set(NAMES) & set(result["logprobs"]["tokens"])


def test_stop_string_that_names_special_token_ends_only_complete_texts(
    client: TestClient, served: ServedModel
) -> None:
    body = after_end(served, "The dog")
    body |= {"response_format": {"type": "regex", "regex": "a{3}"}}
    for stop, reason in (["<s>"], "<s>"), (["</s>"], None), ([], None):
        result = answer(client, served, streamed=False, stop=stop, **body)
        assert (result["text"], result["finish_reason"]) == ("aaa", "stop")
        assert result["stop_reason"] == reason
        assert result["logprobs"]["tokens"][3] == (reason or "</s>")


def assert_offsets(result: Json, prompt: str, ids: list[int], num_leading: int) -> None:
    """Test that each token of a prompt spans its own characters of the text.

    num_leading: the number of tokens before the first text, whose leading space is stripped.
    """
    tokens, offsets = result["logprobs"]["tokens"], result["logprobs"]["text_offset"]
    assert result["text"].startswith(prompt)
    assert offsets[len(ids)] == len(prompt), "the output begins where the prompt ends"
    for i in range(num_leading, len(ids)):
        part = prompt[offsets[i] : offsets[i + 1]]
        assert part == (tokens[i].removeprefix(" ") if i == num_leading else tokens[i])


PROMPTS = {
    "The dog</s>red ball": {"</s>": [7]},
    "The dog</s> red": {"</s>": [7]},
    "The<unk><unk> ball</s><s>": {"<unk>": [3, 8], "</s>": [18], "<s>": [0, 22]},
    "</s>The dog": {"</s>": [0], "<s>": [0]},
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("form", ["text", "ids"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_offsets_of_echo_with_special_tokens(
    client: TestClient, served: ServedModel, prompt: str, form: str, streamed: bool
) -> None:
    ids = served.tokenizer.encode(prompt)
    sent = prompt if form == "text" else ids
    result = answer(client, served, streamed=streamed, prompt=sent, echo=True, max_tokens=2)
    assert_offsets(result, prompt, ids, num_leading=1)
    logprobs = result["logprobs"]
    pairs = list(zip(logprobs["tokens"], logprobs["text_offset"], strict=True))[: len(ids)]
    for name, offsets in PROMPTS[prompt].items():
        assert [offset for token, offset in pairs if token == name] == offsets


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("prompt", "id_text", "offsets"),
    [
        ("<s>The dog", "The dog", [0, 3, 6]),
        ("<s><s>The dog", "<s>The dog", [0, 3]),
        ("<s>", "", [0]),
    ],
)
def test_echo_of_leading_bos(
    client: TestClient,
    served: ServedModel,
    prompt: str,
    id_text: str,
    offsets: list[int],
    streamed: bool,
) -> None:
    """The text is echoed as sent. Of ids, the first BOS is not part of the text."""
    ids = served.tokenizer.encode(prompt)
    assert decode(served.tokenizer, ids) == id_text
    for sent, text, shift in (prompt, prompt, 3), (ids, id_text, 0):
        result = answer(client, served, streamed=streamed, prompt=sent, echo=True, max_tokens=1)
        assert result["text"].startswith(text)
        starts = result["logprobs"]["text_offset"]
        assert starts[: len(offsets)] == [0, *(o - 3 + shift for o in offsets[1:])]
        assert starts[len(ids)] == len(text)
