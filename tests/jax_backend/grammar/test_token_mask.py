"""Grammars in the engine: errors, concurrency, and a model that prefers invalid tokens.

That the masks equal the reference's is tested in test_parity.py.
"""

import json
import queue
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.fixtures import format_corpus
from conformance.parity.harness.requests import RequestSpec, collect
from jax_backend.grammar import token_mask
from jax_backend.grammar.token_mask import GrammarCompiler
from jax_backend.model.checkpoint import load
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.settings import Settings
from reference import bundle as models
from reference.bundle import EMBEDDED, Bundle
from reference.completion import complete
from reference.grammar.language.errors import TooComplex, UnsupportedFormat
from reference.params import CompletionParams
from reference.request import Event, Request, RequestFinished
from reference.tokenizer.vocabulary import Vocabulary
from tests.support import constant_logits

SETTINGS = Settings(
    batch_sizes=(1,), num_pages=48, page_size=32, prefill_sizes=(16,), segment_size=16
)
OBJECT = {"type": "json_object"}


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory, model: Bundle) -> Path:
    """A checkpoint whose most likely tokens are white space, then closing brackets, then the first
    ids of the vocabulary. The end token is the least likely.
    """
    directory = tmp_path_factory.mktemp("spaces")
    for name in "tokenizer.model", "tokenizer_config.json":
        shutil.copy(EMBEDDED / "text" / name, directory)
    logits = np.linspace(-1, -2, model.vocab_size)
    pieces = model.vocabulary.pieces
    logits[[i for i, p in enumerate(pieces) if p and not p.strip(b" \t\n\r")]] = 5
    logits[[i for i, p in enumerate(pieces) if p in (b"}", b"]")]] = 2
    logits[2] = -9
    constant_logits.write(directory, logits, eos=2)
    return directory


SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
FORMATS = [OBJECT, {"type": "json_schema", "json_schema": {"schema": SCHEMA}}]


def test_model_that_prefers_white_space_finishes(spaces: Path) -> None:
    """Greedy decoding gives the same text on both backends."""
    spec = models.load_bundle(spaces)
    engine = JaxEngine(load(spaces), (2,), spec.vocabulary, SETTINGS)
    try:
        for format in FORMATS:
            params = {"temperature": 0, "max_tokens": 300, "response_format": format}
            [expected] = complete(spec, "x", CompletionParams(**params))
            assert expected.finish_reason == "stop"
            assert isinstance(json.loads(expected.text), dict)
            assert max(map(len, re.findall(r"\s+", expected.text))) == 8
            ids = spec.tokenizer.encode("x")
            [answer] = collect(engine, [RequestSpec(ids, {"seed": 0, **params}).request])
            pieces = [spec.vocabulary.pieces[t] for t in answer.tokens[0][:-1]]
            assert b"".join(pieces).decode() == expected.text
            assert answer.tokens[0][-1] == 2
    finally:
        engine.close()


def request(format: Any, **params: Any) -> Request:
    fields = {"seed": 3, "max_tokens": 12, "response_format": format, **params}
    return RequestSpec([5, 6, 7], fields).request


def of_regex(pattern: str) -> dict[str, str]:
    return {"type": "regex", "regex": pattern}


def test_output_that_no_token_can_extend_fails_alone(engine: JaxEngine) -> None:
    """Only "z" may come next, and no token contains it."""
    failed, other = collect(engine, [request(of_regex("az")), request(of_regex("(ab)+"))])
    assert isinstance(failed.error, UnsupportedFormat) and "no token" in str(failed.error)
    assert other.error is None and other.choices[0]


def test_compile_error_fails_alone(engine: JaxEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_mask, "to_lark", lambda language: "start: %%%")
    broken, plain = collect(engine, [request(of_regex("[abc]{3}b")), request({"type": "text"})])
    assert isinstance(broken.error, TooComplex)
    assert plain.error is None


def test_exceeded_limits_during_decoding_fail_alone(
    engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = token_mask.LLParserLimits(max_lexer_states=12, verbose_errors=False)
    monkeypatch.setattr(token_mask, "LIMITS", limits)
    hard = request(of_regex("[ab]*a[ab]{9}"), max_tokens=200, temperature=1.0)
    broken, plain = collect(engine, [hard, request({"type": "text"})])
    assert isinstance(broken.error, TooComplex) and "response_format" in str(broken.error)
    assert plain.error is None


def test_requests_do_not_wait_for_grammar_compilation(
    engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other requests are served meanwhile, and the waiting request can be aborted."""
    resume, start = threading.Event(), engine.executor.grammars.start

    def slow(request: Request) -> Any:
        assert resume.wait(60)
        return start(request)

    monkeypatch.setattr(engine.executor.grammars, "start", slow)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    request_id = engine.submit(request(OBJECT), events.put)
    [other] = collect(engine, [request({"type": "text"})])
    assert other.error is None and events.empty()
    engine.abort(request_id)
    assert events.get(timeout=60) == RequestFinished()
    resume.set()
    [after] = collect(engine, [request(OBJECT)])
    assert after.error is None and events.empty()


def test_grammar_is_compiled_once_and_states_are_independent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vocabulary = Vocabulary((b"</s>", b"a", b"b"), frozenset({0}))
    compiler = GrammarCompiler(vocabulary, frozenset({0}))
    constrained = request(of_regex("a[ab]"))
    state = compiler.start(constrained)
    monkeypatch.setattr(token_mask, "to_lark", lambda language: 1 / 0)
    other_state = compiler.start(constrained)
    state.push(1)
    [[first, second], errors] = compiler.token_masks([state, other_state])
    assert (first[0], second[0], errors) == (0b110, 0b010, [None, None])


def test_padding_bits_and_unconstrained_rows() -> None:
    """The vocabulary fills its mask words to the last bit; one row has no grammar."""
    pieces = (b"</s>", *(bytes([i]) for i in range(65, 128)))
    compiler = GrammarCompiler(Vocabulary(pieces, frozenset({0})), frozenset({0}))
    state = compiler.start(request(of_regex("~?")))
    bits, _ = compiler.token_masks([None, state])
    assert bits.tolist() == [[-1, -1], [1, 1 << 30]]


def test_corpus_formats_compile() -> None:
    """With and without a leading space that is stripped."""
    pieces = (b"</s>", b"<s>", *(bytes([i]) for i in range(256)))
    vocabulary = Vocabulary(pieces, frozenset({0, 1}), bos_id=1, leading_space=True)
    compiler = GrammarCompiler(vocabulary, frozenset({0}))
    for case in [*format_corpus.schemas(), *format_corpus.regexes()]:
        for prompt in [1], [1, 5]:
            fields = {"seed": 0, "response_format": case.response_format}
            state = compiler.start(RequestSpec(prompt, fields).request)
            assert compiler.token_masks([state])[1] == [None], case.name
