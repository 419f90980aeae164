"""Grammars in the engine: how they fail, and that no wish of a model gets past them. That the masks
are the reference's is in test_parity.py.
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
from conformance.parity.harness.requests import Asked, collect
from jax_backend.grammar import token_mask
from jax_backend.grammar.token_mask import Grammars
from jax_backend.model.checkpoint import load
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.executor import Settings
from reference import bundle as models
from reference.bundle import EMBEDDED, Bundle
from reference.completion import complete
from reference.grammar.language.errors import TooComplex, UnsupportedFormat
from reference.params import CompletionParams
from reference.request import Event, Request, RequestFinished
from reference.tokenizer.vocabulary import Vocabulary
from tests.support import constant_logits

SETTINGS = Settings(widths=(1,), pages=48, page_size=32, chunks=(16,))
OBJECT = {"type": "json_object"}


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory, model: Bundle) -> Path:
    """The checkpoint of a model that wants white space, then to close what is open, and then what
    comes first in the vocabulary. It never wants to end the text.
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
BOUND = [OBJECT, {"type": "json_schema", "json_schema": {"schema": SCHEMA}}]


def test_a_model_that_wants_only_white_space_comes_to_an_end(spaces: Path) -> None:
    """On either backend, greedy, and with the same text."""
    spec = models.load_bundle(spaces)
    engine = JaxEngine(load(spaces), (2,), spec.vocabulary, SETTINGS)
    try:
        for format in BOUND:
            asked = {"temperature": 0, "max_tokens": 300, "response_format": format}
            [expected] = complete(spec, "x", CompletionParams(**asked))
            assert expected.finish_reason == "stop"
            assert isinstance(json.loads(expected.text), dict)
            assert max(map(len, re.findall(r"\s+", expected.text))) == 8
            ids = spec.tokenizer.encode("x")
            [answer] = collect(engine, [Asked(ids, {"seed": 0, **asked}).request])
            pieces = [spec.vocabulary.pieces[t] for t in answer.tokens[0][:-1]]
            assert b"".join(pieces).decode() == expected.text
            assert answer.tokens[0][-1] == 2
    finally:
        engine.close()


def request(format: Any, **params: Any) -> Request:
    asked = {"seed": 3, "max_tokens": 12, "response_format": format, **params}
    return Asked([5, 6, 7], asked).request


def of_regex(pattern: str) -> dict[str, str]:
    return {"type": "regex", "regex": pattern}


def test_a_text_that_the_vocabulary_cannot_go_on_with_fails_alone(engine: JaxEngine) -> None:
    """Only "z" may come, and no token has it."""
    fails, holds = collect(engine, [request(of_regex("az")), request(of_regex("(ab)+"))])
    assert isinstance(fails.error, UnsupportedFormat) and "no token" in str(fails.error)
    assert holds.error is None and holds.choices[0]


def test_a_grammar_that_cannot_be_compiled_fails_alone(
    engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_mask, "lark", lambda language: "start: %%%")
    broken, plain = collect(engine, [request(of_regex("[abc]{3}b")), request({"type": "text"})])
    assert isinstance(broken.error, TooComplex)
    assert plain.error is None


def test_what_gets_too_complex_on_the_way_fails_alone(
    engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = token_mask.LLParserLimits(max_lexer_states=12, verbose_errors=False)
    monkeypatch.setattr(token_mask, "LIMITS", limits)
    hard = request(of_regex("[ab]*a[ab]{9}"), max_tokens=200, temperature=1.0)
    broken, plain = collect(engine, [hard, request({"type": "text"})])
    assert isinstance(broken.error, TooComplex) and "response_format" in str(broken.error)
    assert plain.error is None


def test_nobody_waits_for_a_grammar_that_is_being_compiled(
    engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are answered meanwhile, and whoever goes away meanwhile is let go."""
    go_on, begin = threading.Event(), engine.device.grammars.begin

    def slow(asked: Request) -> Any:
        assert go_on.wait(60)
        return begin(asked)

    monkeypatch.setattr(engine.device.grammars, "begin", slow)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    request_id = engine.submit(request(OBJECT), events.put)
    [other] = collect(engine, [request({"type": "text"})])
    assert other.error is None and events.empty()
    engine.abort(request_id)
    assert events.get(timeout=60) == RequestFinished()
    go_on.set()
    [after] = collect(engine, [request(OBJECT)])
    assert after.error is None and events.empty()


def test_a_grammar_is_compiled_once_and_its_texts_are_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vocabulary = Vocabulary((b"</s>", b"a", b"b"), frozenset({0}))
    grammars = Grammars(vocabulary, frozenset({0}))
    asked = request(of_regex("a[ab]"))
    one = grammars.begin(asked)
    monkeypatch.setattr(token_mask, "lark", lambda language: 1 / 0)
    two = grammars.begin(asked)
    one.push(1)
    [[first, second], errors] = grammars.masks([one, two])
    assert (first[0], second[0], errors) == (0b110, 0b010, [None, None])


def test_bits_beyond_the_vocabulary_and_of_nobody() -> None:
    """A vocabulary that fills its words to the last bit; a row without a grammar."""
    pieces = (b"</s>", *(bytes([i]) for i in range(65, 128)))
    grammars = Grammars(Vocabulary(pieces, frozenset({0})), frozenset({0}))
    text = grammars.begin(request(of_regex("~?")))
    bits, _ = grammars.masks([None, text])
    assert bits.tolist() == [[-1, -1], [1, 1 << 30]]


def test_every_format_of_the_corpus_is_compiled() -> None:
    """Also for a text whose first space does not count."""
    pieces = (b"</s>", b"<s>", *(bytes([i]) for i in range(256)))
    vocabulary = Vocabulary(pieces, frozenset({0, 1}), bos_id=1, leading_space=True)
    grammars = Grammars(vocabulary, frozenset({0}))
    for case in [*format_corpus.schemas(), *format_corpus.regexes()]:
        for prompt in [1], [1, 5]:
            format = {"seed": 0, "response_format": case.response_format}
            text = grammars.begin(Asked(prompt, format).request)
            assert grammars.masks([text])[1] == [None], case.name
