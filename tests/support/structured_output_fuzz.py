"""Structured-output fuzzing: random outputs for random formats must be valid.

    python -m tests.support.structured_output_fuzz --count 10000 --backend jax --seed 0

The model has uniform logits, at temperature 2. A finished output must be valid for independent
implementations (`json`, `jsonschema`, `re`); an output that was cut off must be a prefix of a valid
one. With `--backend jax` a whole engine generates the outputs, many at a time.
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

from conformance.parity.format_strategies import response_format as random_format
from conformance.parity.harness.requests import collect
from reference import sampler
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.expressions import EMPTY_SET, Language
from reference.grammar.response_format import UnsupportedFormat, compile_format
from reference.grammar.schema.keywords import ANNOTATIONS, KEYWORDS
from reference.grammar.token_mask import GrammarMatcher
from reference.params import CompletionParams
from reference.request import Request
from reference.threefry import noise
from reference.tokenizer.vocabulary import Vocabulary
from tests.support import constant_logits
from tests.support.jsonschema_oracle import is_instance

MAX_TOKENS = 200
COPIES = {b'"': 60, b"}": 20, b"]": 20, b",": 4, b":": 4, b'":': 8, b"}}": 2, b'", "': 8, b"-": 6}
PIECES = [b'{"', b'"}', b"[[", b"null", b"true", b" ", b' "', b"12", b"0.", "é".encode(), b'""']
NUM_EOS = 60  # end-of-sequence tokens
BATCH_SIZE = 32


def vocabulary() -> Vocabulary:
    """Every byte, and some pieces. Closing pieces have many copies, so that outputs end."""
    pieces = [bytes([i]) for i in range(256)] + PIECES
    pieces += [piece for piece, count in COPIES.items() for _ in range(count)]
    special = range(len(pieces), len(pieces) + NUM_EOS + 1)
    return Vocabulary(
        (*pieces, *[b""] * len(special)), frozenset(special), bos_id=special[-1], leading_space=True
    )


VOCABULARY = vocabulary()
SIZE, BOS = len(VOCABULARY.pieces), len(VOCABULARY.pieces) - 1
EOS = VOCABULARY.disallowed_token_ids - {BOS}


@dataclass(frozen=True)
class Output:
    """ended: whether an end token ended it, not the token budget."""

    text: bytes
    ended: bool


@dataclass(frozen=True)
class Case:
    """One format. strip_space: whether the output begins a text, whose leading space is
    stripped.
    """

    number: int
    response_format: dict[str, Any]
    language: Language
    strip_space: bool

    @property
    def request(self) -> Request:
        params = CompletionParams(
            temperature=2.0,
            max_tokens=MAX_TOKENS,
            response_format=self.response_format,
            seed=self.number,
        )
        prompt = (BOS,) if self.strip_space else (BOS, 0)
        return Request(prompt=prompt, params=params, seed=self.number, language=self.language)

    def output(self, tokens: Sequence[int]) -> Output:
        """Decode the output tokens."""
        pieces = [VOCABULARY.pieces[token] for token in tokens]
        if self.strip_space and pieces:
            pieces[0] = pieces[0].removeprefix(b" ")
        return Output(b"".join(pieces), ended=bool(tokens) and tokens[-1] in EOS)


@dataclass
class Counts:
    """Totals of a run. invalid: the messages of the invalid outputs."""

    ended: int = 0
    cut_off: int = 0
    refused: int = 0
    invalid: list[str] = field(default_factory=list)
    keywords: Counter[str] = field(default_factory=Counter)


Generate = Callable[[list[Case]], list[Output]]


@contextmanager
def by_reference() -> Iterator[Generate]:
    """Generate with the reference's masks and sampler."""
    yield lambda cases: [generate_one(case) for case in cases]


def generate_one(case: Case) -> Output:
    """Sample one output token by token, without a model."""
    grammar = GrammarMatcher(case.language, VOCABULARY, EOS, strip_space=case.strip_space)
    logits, none = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.int64)
    tokens: list[int] = []
    while len(tokens) < MAX_TOKENS and not EOS & set(tokens[-1:]):
        history = sampler.SamplingHistory(
            params=case.request.params,
            allowed=grammar.allowed(),
            present=none > 0,
            counts=none,
        )
        gumbel = noise(case.number, 0, len(tokens), SIZE)
        tokens.append(sampler.sample(logits, history, gumbel))
        if tokens[-1] not in EOS:
            grammar.push(tokens[-1])
    return case.output(tokens)


@contextmanager
def by_jax() -> Iterator[Generate]:
    """Generate with the JAX engine, on a checkpoint with uniform logits."""
    from jax_backend.model.checkpoint import load
    from jax_backend.serving.engine import JaxEngine
    from jax_backend.serving.settings import Settings

    with tempfile.TemporaryDirectory() as name:
        constant_logits.write(Path(name), np.zeros(SIZE), eos=min(EOS))
        settings = Settings(
            batch_sizes=(BATCH_SIZE,),
            num_pages=4 * BATCH_SIZE,
            page_size=64,
            prefill_sizes=(8,),
            segment_size=8,
        )
        engine = JaxEngine(load(Path(name)), tuple(EOS), VOCABULARY, settings)

    def generate(cases: list[Case]) -> list[Output]:
        answers = collect(engine, [case.request for case in cases])
        errors = [answer.error for answer in answers if answer.error]
        assert not errors, errors
        return [c.output(a.tokens[0]) for c, a in zip(cases, answers, strict=True)]

    try:
        yield generate
    finally:
        engine.close()


BACKENDS = {"reference": by_reference, "jax": by_jax}


def violation(response_format: Mapping[str, Any], language: Language, output: Output) -> str | None:
    """Return how an output violates the format; None if it is valid."""
    if not output.ended:
        state = Derivatives(language).advance(language.start, output.text)
        return "not a prefix of a valid text" if state is EMPTY_SET else None
    try:
        text = output.text.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    match response_format["type"]:
        case "regex":
            pattern = response_format["regex"]
            valid = all(re.fullmatch(pattern, text, flag) for flag in (re.ASCII, re.UNICODE))
        case "json_schema":
            valid = is_instance(response_format["json_schema"]["schema"], text)
        case _:
            valid = is_instance({"type": "object"}, text)
    return None if valid else "not allowed by the format"


def keywords(schema: Any) -> Iterator[str]:
    """Yield the keywords that occur in a schema, and its formats."""
    if isinstance(schema, list):
        for part in schema:
            yield from keywords(part)
    elif isinstance(schema, dict):
        for keyword, value in schema.items():
            yield keyword
            if keyword in ("properties", "$defs", "patternProperties"):
                yield from keywords(list(value.values()))
            elif keyword not in ("enum", "const", "default", "required", "type", "discriminator"):
                yield from keywords(value)
            if keyword == "format":
                yield f"format {value}"


def make_case(number: int, seed: int) -> Case | None:
    """Make a random case; None if its format is refused."""
    rng = Random(f"{seed} {number}")
    format, strip_space = random_format(rng), rng.random() < 0.5
    try:
        language = compile_format(format)
    except UnsupportedFormat:
        return None
    assert language is not None
    return Case(seed * 2**32 + number, format, language, strip_space)


def run(
    generate: Generate, count: int, seed: int = 0, report: Callable[[str], None] = print
) -> Counts:
    """Run `count` cases, and report each invalid output."""
    counts = Counts()
    for start in range(0, count, BATCH_SIZE):
        numbers = range(start, min(start + BATCH_SIZE, count))
        cases = [case for number in numbers if (case := make_case(number, seed))]
        counts.refused += len(numbers) - len(cases)
        for case, output in zip(cases, generate(cases), strict=True):
            counts.ended += output.ended
            counts.cut_off += not output.ended
            schema = case.response_format.get("json_schema", {}).get("schema")
            counts.keywords.update(set(keywords(schema)))
            wrong = violation(case.response_format, case.language, output)
            if wrong:
                format = json.dumps(case.response_format)
                message = f"{case.number}: {wrong}: {format} -> {output.text!r}"
                counts.invalid.append(message)
                report(message)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--backend", choices=BACKENDS, default="reference")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with BACKENDS[options.backend]() as generate:
        counts = run(generate, options.count, options.seed)
    print(f"ended {counts.ended}, cut off {counts.cut_off}, refused {counts.refused}")
    print(f"invalid {len(counts.invalid)}")
    used = counts.keywords.keys() & (set(KEYWORDS) | ANNOTATIONS)
    print(f"keywords {len(used & set(KEYWORDS))} of {len(KEYWORDS)}:", *sorted(used))
    return bool(counts.invalid)


if __name__ == "__main__":
    raise SystemExit(main())
