"""Answers by chance to formats by chance: whatever is drawn must be what was asked for.

    python -m tests.support.structured_output_fuzz --count 10000 --backend jax --seed 0

The model finds every token as likely as any other, at temperature 2. A text that ended must be read
and be valid for others (`json`, `jsonschema`, `re`); one that was cut off must be the beginning of
a text. With `--backend jax` a whole engine writes the texts, many at a time.
"""

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from conformance.parity.format_strategies import response_format
from conformance.parity.harness.requests import collect
from reference import sampler
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.expressions import NOTHING, Language
from reference.grammar.response_format import UnsupportedFormat, compile_format
from reference.grammar.schema.keywords import ANNOTATIONS, KEYWORDS
from reference.grammar.token_mask import Grammar
from reference.params import CompletionParams
from reference.request import Request
from reference.threefry import noise
from reference.tokenizer.vocabulary import Vocabulary
from tests.support import constant_logits
from tests.support.jsonschema_oracle import is_instance

BUDGET = 200  # tokens of a text
OFTEN = {b'"': 60, b"}": 20, b"]": 20, b",": 4, b":": 4, b'":': 8, b"}}": 2, b'", "': 8, b"-": 6}
PIECES = [b'{"', b'"}', b"[[", b"null", b"true", b" ", b' "', b"12", b"0.", "é".encode(), b'""']
ENDS = 60  # tokens that end a text
BLOCK = 32  # questions at a time


def vocabulary() -> Vocabulary:
    """Every byte, and some pieces. What closes something is there many times, so that texts end."""
    pieces = [bytes([i]) for i in range(256)] + PIECES
    pieces += [piece for piece, times in OFTEN.items() for _ in range(times)]
    never = range(len(pieces), len(pieces) + ENDS + 1)
    return Vocabulary(
        (*pieces, *[b""] * len(never)), frozenset(never), bos_id=never[-1], leading_space=True
    )


VOCABULARY = vocabulary()
SIZE, BOS = len(VOCABULARY.pieces), len(VOCABULARY.pieces) - 1
ENDING = VOCABULARY.never - {BOS}


@dataclass(frozen=True)
class Answer:
    """ended: whether a token ended it, or the budget did."""

    text: bytes
    ended: bool


@dataclass(frozen=True)
class Question:
    """first: whether a text begins with the answer, so that its first space does not count."""

    number: int
    asked: dict[str, Any]
    language: Language
    first: bool

    @property
    def request(self) -> Request:
        params = CompletionParams(
            temperature=2.0, max_tokens=BUDGET, response_format=self.asked, seed=self.number
        )
        prompt = (BOS,) if self.first else (BOS, 0)
        return Request(prompt=prompt, params=params, seed=self.number, language=self.language)

    def answer(self, tokens: Sequence[int]) -> Answer:
        pieces = [VOCABULARY.pieces[token] for token in tokens]
        if self.first and pieces:
            pieces[0] = pieces[0].removeprefix(b" ")
        return Answer(b"".join(pieces), ended=bool(tokens) and tokens[-1] in ENDING)


@dataclass
class Counts:
    ended: int = 0
    cut_off: int = 0
    refused: int = 0
    invalid: list[str] = field(default_factory=list)
    keywords: Counter[str] = field(default_factory=Counter)


Answers = Callable[[list[Question]], list[Answer]]


@contextmanager
def by_reference() -> Iterator[Answers]:
    yield lambda questions: [one_by_one(question) for question in questions]


def one_by_one(question: Question) -> Answer:
    """The reference's masks and draws."""
    grammar = Grammar(question.language, VOCABULARY, ENDING, first=question.first)
    logits, none = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.int64)
    tokens: list[int] = []
    while len(tokens) < BUDGET and not ENDING & set(tokens[-1:]):
        history = sampler.SamplingHistory(
            params=question.request.params,
            allowed=grammar.allowed(),
            seen=none > 0,
            counts=none,
        )
        drawn = noise(question.number, 0, len(tokens), SIZE)
        tokens.append(sampler.sample(logits, history, drawn))
        if tokens[-1] not in ENDING:
            grammar.push(tokens[-1])
    return question.answer(tokens)


@contextmanager
def by_jax() -> Iterator[Answers]:
    from jax_backend.model.checkpoint import load
    from jax_backend.serving.engine import JaxEngine
    from jax_backend.serving.executor import Settings

    with tempfile.TemporaryDirectory() as name:
        constant_logits.write(Path(name), np.zeros(SIZE), eos=min(ENDING))
        settings = Settings(widths=(BLOCK,), pages=4 * BLOCK, page_size=64, chunks=(8,))
        engine = JaxEngine(load(Path(name)), tuple(ENDING), VOCABULARY, settings)

    def answers(questions: list[Question]) -> list[Answer]:
        found = collect(engine, [question.request for question in questions])
        errors = [answer.error for answer in found if answer.error]
        assert not errors, errors
        return [q.answer(a.tokens[0]) for q, a in zip(questions, found, strict=True)]

    try:
        yield answers
    finally:
        engine.close()


BACKENDS = {"reference": by_reference, "jax": by_jax}


def what_is_wrong(asked: Mapping[str, Any], language: Language, given: Answer) -> str | None:
    if not given.ended:
        rules = Derivatives(language)
        begun = rules.after(language.start, given.text) is not NOTHING
        return None if begun else "no beginning of a text"
    try:
        text = given.text.decode()
    except UnicodeDecodeError:
        return "no UTF-8"
    match asked["type"]:
        case "regex":
            fine = all(re.fullmatch(asked["regex"], text, flag) for flag in (re.ASCII, re.UNICODE))
        case "json_schema":
            fine = is_instance(asked["json_schema"]["schema"], text)
        case _:
            fine = is_instance({"type": "object"}, text)
    return None if fine else "not what was asked for"


def keywords(schema: Any) -> Iterator[str]:
    """Those that stand in a schema."""
    if isinstance(schema, list):
        for part in schema:
            yield from keywords(part)
    elif isinstance(schema, dict):
        for keyword, value in schema.items():
            yield keyword
            if keyword in ("properties", "$defs"):
                yield from keywords(list(value.values()))
            elif keyword not in ("enum", "const", "default", "required", "type"):
                yield from keywords(value)
            if keyword == "format":
                yield f"format {value}"


def shown(line: str) -> None:
    print(line, flush=True)


def question(number: int, seed: int) -> Question | None:
    """None for a format that is refused."""
    rng = Random(f"{seed} {number}")
    asked, first = response_format(rng), rng.random() < 0.5
    try:
        language = compile_format(asked)
    except UnsupportedFormat:
        return None
    assert language is not None
    return Question(seed * 2**32 + number, asked, language, first)


def run(
    answers: Answers, count: int, seed: int = 0, report: Callable[[str], None] = print
) -> Counts:
    counts = Counts()
    for start in range(0, count, BLOCK):
        block = [question(number, seed) for number in range(start, min(start + BLOCK, count))]
        questions = [one for one in block if one]
        counts.refused += len(block) - len(questions)
        for one, given in zip(questions, answers(questions), strict=True):
            counts.ended += given.ended
            counts.cut_off += not given.ended
            schema = one.asked.get("json_schema", {}).get("schema")
            counts.keywords.update(set(keywords(schema)))
            wrong = what_is_wrong(one.asked, one.language, given)
            if wrong:
                said = f"{one.number}: {wrong}: {json.dumps(one.asked)} -> {given.text!r}"
                counts.invalid.append(said)
                report(said)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--backend", choices=BACKENDS, default="reference")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with BACKENDS[asked.backend]() as answers:
        counts = run(answers, asked.count, asked.seed)
    print(f"ended {counts.ended}, cut off {counts.cut_off}, refused {counts.refused}")
    print(f"invalid {len(counts.invalid)}")
    used = counts.keywords.keys() & (set(KEYWORDS) | ANNOTATIONS)
    print(f"keywords {len(used & set(KEYWORDS))} of {len(KEYWORDS)}:", *sorted(used))
    return bool(counts.invalid)


if __name__ == "__main__":
    raise SystemExit(main())
