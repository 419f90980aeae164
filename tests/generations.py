"""Answers by chance to formats by chance: whatever is drawn must be what was asked for.

    python -m tests.generations --count 10000 --backend reference --seed 0

For each format, tokens are drawn alike often among those that may come next: logits of 0, and the
noise of the format's own number as a seed. A text that ended must be read and be valid for others
(`json`, `jsonschema`, `re`); one that was cut off must be the beginning of a text.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import numpy as np

from conformance.parity.languages import response_format
from reference import sampler
from reference.grammar import Grammar
from reference.language.derivatives import Derivatives
from reference.language.expressions import NOTHING, Language
from reference.language.schema_keywords import ANNOTATIONS, KEYWORDS
from reference.params import CompletionParams
from reference.response_format import UnsupportedFormat, language_of
from reference.threefry import noise
from reference.vocabulary import Vocabulary
from tests.instances import is_instance

BUDGET = 200  # tokens of a text
OFTEN = {b'"': 60, b"}": 20, b"]": 20, b",": 4, b":": 4, b'":': 8, b"}}": 2, b'", "': 8, b"-": 6}
PIECES = [b'{"', b'"}', b"[[", b"null", b"true", b" ", b' "', b"12", b"0.", "é".encode(), b'""']
ENDS = 60  # tokens that end a text
PARAMS = CompletionParams(temperature=2.0)


class Masks(Protocol):
    """The text of one choice, as far as it has come."""

    def allowed(self) -> np.ndarray:
        """(V,) bool. Raises UnsupportedFormat if no token may come."""

    def push(self, token: int) -> None: ...


Begin = Callable[[Language, bool], Masks]


def vocabulary() -> Vocabulary:
    """Every byte, and some pieces. What closes something is there many times, so that texts end."""
    pieces = [bytes([i]) for i in range(256)] + PIECES
    pieces += [piece for piece, times in OFTEN.items() for _ in range(times)]
    ends = range(len(pieces), len(pieces) + ENDS)
    return Vocabulary((*pieces, *[b""] * ENDS), frozenset(ends), leading_space=True)


VOCABULARY = vocabulary()


def of_reference(language: Language, first: bool) -> Masks:
    return Grammar(language, VOCABULARY, VOCABULARY.never, first=first)


BACKENDS: dict[str, Begin] = {"reference": of_reference}


@dataclass(frozen=True)
class Answer:
    """ended: whether a token ended it, or the budget did."""

    text: bytes
    ended: bool


@dataclass
class Counts:
    ended: int = 0
    cut_off: int = 0
    refused: int = 0
    invalid: list[str] = field(default_factory=list)
    keywords: Counter[str] = field(default_factory=Counter)


def answer(masks: Masks, first: bool, seed: int) -> Answer:
    size = len(VOCABULARY.pieces)
    logits, none = np.zeros(size, np.float32), np.zeros(size, np.int64)
    text = b""
    for position in range(BUDGET):
        history = sampler.History(
            params=PARAMS, allowed=masks.allowed(), seen=none > 0, counts=none
        )
        token = sampler.sample(logits, history, noise(seed, 0, position, size))
        if token in VOCABULARY.never:
            return Answer(text, ended=True)
        piece = VOCABULARY.pieces[token]
        text += piece.removeprefix(b" ") if first and not position else piece
        masks.push(token)
    return Answer(text, ended=False)


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


def run(begin: Begin, count: int, seed: int = 0, report: Callable[[str], None] = shown) -> Counts:
    counts = Counts()
    for number in range(count):
        rng = Random(f"{seed} {number}")
        asked = response_format(rng)
        first = rng.random() < 0.5
        try:
            language = language_of(asked)
        except UnsupportedFormat:
            counts.refused += 1
            continue
        assert language is not None
        given = answer(begin(language, first), first, seed * 2**32 + number)
        counts.ended += given.ended
        counts.cut_off += not given.ended
        counts.keywords.update(set(keywords(asked.get("json_schema", {}).get("schema"))))
        wrong = what_is_wrong(asked, language, given)
        if wrong:
            counts.invalid.append(f"{number}: {wrong}: {json.dumps(asked)} -> {given.text!r}")
            report(counts.invalid[-1])
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--backend", choices=BACKENDS, default="reference")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    counts = run(BACKENDS[asked.backend], asked.count, asked.seed)
    print(f"ended {counts.ended}, cut off {counts.cut_off}, refused {counts.refused}")
    print(f"invalid {len(counts.invalid)}")
    used = counts.keywords.keys() & (set(KEYWORDS) | ANNOTATIONS)
    print(f"keywords {len(used & set(KEYWORDS))} of {len(KEYWORDS)}:", *sorted(used))
    return bool(counts.invalid)


if __name__ == "__main__":
    raise SystemExit(main())
