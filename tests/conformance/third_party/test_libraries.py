"""The server for libraries: what it refuses, and that it adds no fault of its own to a library that
conforms.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.harness.registry import PROFILES, all_checks
from conformance.harness.runner import run
from conformance.third_party.libraries.server import (
    OFF,
    Fields,
    Json,
    LibraryServer,
    Prompt,
    Tokens,
    respond,
)
from conformance.verdicts import Depth, Verdict
from reference.bundle import Bundle
from reference.generate import generate
from reference.params import CompletionParams
from reference.request import Request, TokenGenerated
from reference.tokenizer.detokenizer import decode
from tests.conformance.conftest import target_at
from tests.conformance.mutations.engine import NAME

LETTERS = "_abcdefgh"
UNIFORM = [np.float32(-1)] * len(LETTERS)  # as libraries return them


class Letters:
    """A library whose token i is the i-th letter. It returns the next letters of the prompt."""

    fields = frozenset({"logprobs", "top_k", "return_tokens_as_token_ids"})

    def __init__(self) -> None:
        self.seen: Fields = {}
        self.threads: set[int] = set()

    def complete(self, prompt: Prompt, fields: Fields) -> Json:
        self.seen = fields
        self.threads.add(threading.get_ident())
        if fields.get("top_k", 0) < 0:
            raise ValueError("top_k: must not be negative")
        ids = [LETTERS.index(letter) for letter in prompt] if isinstance(prompt, str) else prompt
        output = [ids[-1] % 8 + 1 + i for i in range(fields["max_tokens"])]
        ended = 5 in output
        output = output[: output.index(5) + 1] if ended else output
        rows = [UNIFORM] * len(output)
        return Tokens(ids, output, rows, ended).as_response(self.decode, fields)

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(LETTERS[token] for token in tokens)


class Reference:
    """The reference as a library: prompt and parameters in, token ids and distributions out."""

    fields = frozenset(
        {
            *("top_p", "top_k", "min_p", "seed", "stop_token_ids", "logprobs"),
            *("presence_penalty", "frequency_penalty", "repetition_penalty"),
            "return_tokens_as_token_ids",
        }
    )

    def __init__(self, model: Bundle, left_out: str = "") -> None:
        self.model, self.left_out = model, left_out

    def complete(self, prompt: Prompt, fields: Fields) -> Json:
        if fields.get("logprobs", 0) < 0:
            raise ValueError("logprobs: must not be negative")
        names = self.fields - {"logprobs", "return_tokens_as_token_ids", self.left_out}
        given = {n: fields[n] for n in (*names, "temperature", "max_tokens") if n in fields}
        if "stop_token_ids" in given:
            given["stop_token_ids"] = tuple(given["stop_token_ids"])
        params = CompletionParams(**given, logprobs=self.model.vocab_size)
        ids = self.model.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        request = Request.of(ids, params)
        events = [e for e in generate(self.model, request) if isinstance(e, TokenGenerated)]
        rows = [self.row(event) for event in events] if "logprobs" in fields else []
        output = [event.token for event in events]
        ended = events[-1].finish_reason == "stop"
        return Tokens(ids, output, rows, ended).as_response(self.decode, fields)

    def row(self, event: TokenGenerated) -> list[float]:
        assert event.logprobs is not None
        row = [-float("inf")] * self.model.vocab_size
        for token, value in event.logprobs.top:
            row[token] = value
        return row

    def decode(self, tokens: Sequence[int]) -> str:
        return decode(self.model.tokenizer, list(tokens))


@contextmanager
def served(library: Any) -> Iterator[str]:
    with LibraryServer(0, library, NAME) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def ask(library: Any, **fields: Any) -> Json:
    return respond(library, NAME, {"prompt": "abc", "max_tokens": 2} | fields)


def test_text_and_usage() -> None:
    answer = ask(Letters(), prompt="a")
    assert answer["choices"][0]["text"] == "bc"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert ask(Letters(), prompt=[1])["choices"] == answer["choices"]


def test_token_that_ends_the_output_has_an_entry_and_no_text() -> None:
    answer = ask(Letters(), prompt="b", max_tokens=9, logprobs=0)
    [choice] = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("cd", "stop")
    assert answer["usage"]["completion_tokens"] == 3
    assert choice["logprobs"]["tokens"] == ["c", "d", "e"]
    assert choice["logprobs"]["text_offset"] == [0, 1, 2]


@given(st.integers(0, 9), st.booleans())
def test_entries_have_the_requested_tokens_and_the_chosen_one(count: int, as_ids: bool) -> None:
    options = {"logprobs": count, "return_tokens_as_token_ids": as_ids}
    columns = ask(Letters(), prompt="a", max_tokens=2, **options)["choices"][0]["logprobs"]
    assert len({len(column) for column in columns.values()}) == 1
    for name, top in zip(columns["tokens"], columns["top_logprobs"], strict=True):
        assert name in top and len(top) in (count, count + 1)
        assert name.startswith("token_id:") is as_ids


@pytest.mark.parametrize("name", sorted(set(OFF) - Letters.fields))
def test_off_value_is_honored_and_another_one_is_refused(name: str) -> None:
    assert ask(Letters(), **{name: OFF[name]})["choices"]
    assert ask(Letters(), **{name: None})["choices"]
    with pytest.raises(ValueError, match=f"^{name}: "):
        ask(Letters(), **{name: [1] if OFF[name] == [] else 2})


@pytest.mark.parametrize("name", ["seed", "response_format", "invented"])
def test_field_without_an_off_value_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        ask(Letters(), **{name: 0})


@pytest.mark.parametrize("prompt", [None, 3, ["a"], [True], {}, [[1]]])
def test_other_prompt_is_refused(prompt: Any) -> None:
    with pytest.raises(ValueError, match=r"^prompt: "):
        ask(Letters(), prompt=prompt)


def test_null_is_not_passed_to_the_library() -> None:
    library = Letters()
    ask(library, top_k=None, user="a")
    assert "top_k" not in library.seen and library.seen["max_tokens"] == 2


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"{", 400, "Expecting"),
        (b"[]", 400, "body: must be an object"),
        (b'{"prompt": "a", "top_k": -1}', 400, "top_k: must not be negative"),
        (b'{"prompt": "a", "top_k": "b"}', 400, "'<' not supported"),
        (b'{"prompt": []}', 500, "IndexError"),
        (b'{"prompt": "a"}', 200, "text_completion"),
    ],
)
def test_statuses(body: bytes, status: int, text: str) -> None:
    with served(Letters()) as address:
        reply = httpx.post(f"{address}/v1/completions", content=body)
        assert (reply.status_code, text in reply.text) == (status, True), reply.text
        assert httpx.get(f"{address}/v1/models").json()["data"][0]["id"] == NAME
        assert httpx.post(f"{address}/v1/other", content=b"{}").status_code == 404


def test_numbers_of_numpy_are_numbers() -> None:
    body = {"prompt": "a", "max_tokens": 1, "logprobs": 1}
    with served(Letters()) as address:
        reply = httpx.post(f"{address}/v1/completions", json=body).json()
    assert reply["choices"][0]["logprobs"]["token_logprobs"] == [-1.0]


def test_concurrent_requests_are_answered_on_one_thread() -> None:
    library = Letters()
    with served(library) as address, httpx.Client() as client, ThreadPoolExecutor(8) as pool:

        def request(letter: str) -> str:
            content = json.dumps({"prompt": letter, "max_tokens": 1})
            reply = client.post(f"{address}/v1/completions", content=content)
            return str(reply.json()["choices"][0]["text"])

        assert list(pool.map(request, "abcabcabc")) == list("bcdbcdbcd")
    assert len(library.threads) == 1


# A library returns no names of tokens: the server decodes each one alone, as it can.
NAMES = {"logprobs/token-text-names", "logprobs/token-string-collisions"}
CHECKS = [
    check
    for check in all_checks()
    if check.parameter in (PROFILES["sampling"] or ()) and check.id not in NAMES
]


@pytest.mark.lane
def test_conforming_library_has_no_deviation(tiny_model: Bundle) -> None:
    checks = [check for check in CHECKS if check.depth is not Depth.PROTOCOL]
    with served(Reference(tiny_model)) as address, target_at(address, tiny_model) as target:
        results = run(target, checks)
    bad = [r for r in results if r.verdict in (Verdict.FAIL, Verdict.NON_STRICT, Verdict.ERROR)]
    assert not bad, [(r.id, r.summary) for r in bad]
    assert sum(r.verdict is Verdict.PASS for r in results) > 50


@pytest.mark.parametrize("name", ["top_p", "min_p", "repetition_penalty"])
def test_library_that_ignores_a_parameter_is_detected(tiny_model: Bundle, name: str) -> None:
    checks = [c for c in CHECKS if c.parameter == name and c.depth is Depth.TRUTH]
    wrong = Reference(tiny_model, left_out=name)
    with served(wrong) as address, target_at(address, tiny_model) as target:
        assert any(r.verdict is Verdict.FAIL for r in run(target, checks))
