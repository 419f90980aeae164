"""Speculative decoding by prompt lookup: one stream with drafts and without, in interleaved runs.

    python -m benchmarks.speculation [DIR] [--repeats 5] [--slots 8] [--variant] [--streams 1]

On an inflated embedded model (`benchmarks.inflated`), which is written to DIR first. Every run with
drafts is checked to have the output of the run without.
"""

import argparse
import queue
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import jax

from benchmarks import inflated
from benchmarks.decoding import ratio
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.scheduling.rows import Drafter
from jax_backend.training.text import records, words
from jax_backend.training.text.random_source import RandomSource
from reference.bundle import load_processor
from reference.grammar.response_format import compile_format
from reference.params import CompletionParams
from reference.request import Event, PromptProcessed, Request, RequestFinished, TokenGenerated

EXAMPLES = 3  # in a prompt
PERSON_PROMPT, NEWLINE = "Write a JSON record of a person.\n", "\n"
TOKENS = 256


def one_of(values: list[str]) -> dict[str, Any]:
    return {"type": "string", "enum": values}


PERSON = {
    "type": "object",
    "properties": {
        "name": one_of(words.GIRLS + words.BOYS),
        "age": {"type": "integer", "minimum": 18, "maximum": 80},
        "job": one_of(words.JOBS),
        "city": one_of(words.CITIES),
        "hobbies": {
            "type": "array",
            "items": one_of(words.HOBBIES),
            "minItems": 1,
            "maxItems": 3,
        },
        "married": {"type": "boolean"},
    },
    "required": ["name", "age", "job", "city", "hobbies", "married"],
    "additionalProperties": False,
}
PEOPLE = {"type": "array", "items": PERSON, "minItems": 20}
QUESTIONS = r"(Q: [A-Za-z0-9 ]+\?\nA: [A-Za-z0-9 ]+\.\n){30}"
ITEMS = r"([1-9][0-9]?\. [a-z]+\n){80}"


@dataclass(frozen=True)
class Workload:
    """Prompts of one kind, with parameters."""

    name: str
    prompts: list[str]
    params: dict[str, Any] = field(default_factory=dict)


def examples(kind: Any, seed: int) -> list[str]:
    rng = RandomSource(seed)
    return [kind(rng).strip() for _ in range(EXAMPLES)]


def workloads(seeds: int) -> list[Workload]:
    """Return texts that repeat themselves in different degrees, each greedy and sampled."""
    people = [
        "".join(f"{PERSON_PROMPT}{text.partition(NEWLINE)[2]}\n" for text in texts) + PERSON_PROMPT
        for texts in (examples(records.person, seed) for seed in range(seeds))
    ]
    questions = ["\n".join(examples(records.questions, seed)) + "\n" for seed in range(seeds)]
    return [
        Workload("a JSON record", people * 2, schema(PERSON)),
        Workload("a JSON list", people, schema(PEOPLE)),
        Workload("repeats its prompt", questions, regex(QUESTIONS)),
        Workload("lists", ["List three toys.\n"] * seeds, regex(ITEMS)),
        Workload("stories", ["Once upon a time", "One sunny day,"] * seeds),
    ]


def schema(value: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"schema": value}}}


def regex(pattern: str) -> dict[str, Any]:
    return {"response_format": {"type": "regex", "regex": pattern}}


def run(
    engine: JaxEngine, requests: list[Request], drafter: Drafter | None
) -> tuple[float, list[list[int]]]:
    """Return tokens per second, of concurrent requests after their prefills, and the tokens."""
    engine.scheduler.row_planner.drafter = drafter
    arrived: queue.SimpleQueue[tuple[float, int, Event]] = queue.SimpleQueue()
    for i, request in enumerate(requests):
        engine.submit(request, lambda e, i=i: arrived.put((time.perf_counter(), i, e)))
    tokens: list[list[int]] = [[] for _ in requests]
    begin = end = 0.0
    running = len(requests)
    while running:
        end, i, event = arrived.get()
        if isinstance(event, PromptProcessed):
            begin = end
        elif isinstance(event, TokenGenerated):
            tokens[i].append(event.token)
        elif isinstance(event, RequestFinished):
            assert event.error is None, event.error
            running -= 1
    return sum(map(len, tokens)) / (end - begin), tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    default = Path(gettempdir()) / "completions-inflated-134M"
    option("directory", type=Path, nargs="?", default=default)
    option("--repeats", type=int, default=5)
    option("--slots", type=int, default=8)
    option("--streams", type=int, default=1)
    option("--seeds", type=int, default=2, help="prompts of each kind")
    option("--variant", action="store_true", help="use all batch sizes")
    options = parser.parse_args()
    inflated.write(options.directory)
    launched = inflated.start(options.directory, options.slots, not options.variant)
    engine, tokenizer = launched.engine, load_processor(options.directory).tokenizer
    print(f"{inflated.count_identical(launched)} outputs are those of the embedded model")
    print(f"{jax.devices()[0].device_kind}, batch sizes {engine.executor.batch_sizes}")
    drafter = engine.scheduler.row_planner.drafter
    for work in workloads(options.seeds):
        for temperature in (0.0, 0.8):
            with_drafts: list[float] = []
            without: list[float] = []
            before = engine.stats()
            for repeat in range(options.repeats):
                for prompt in work.prompts:
                    fields = {"max_tokens": TOKENS, "temperature": temperature} | work.params
                    requests = []
                    for stream in range(options.streams):
                        params = CompletionParams(seed=repeat + 100 * stream, **fields)
                        language = compile_format(params.response_format)
                        ids = tokenizer.encode(prompt)
                        requests.append(Request.of(ids, params, language=language))
                    rate, expected = run(engine, requests, None)
                    without.append(rate)
                    rate, tokens = run(engine, requests, drafter)
                    with_drafts.append(rate)
                    assert tokens == expected or options.variant
            after = engine.stats()
            drafted = after.draft_tokens - before.draft_tokens
            accepted = after.accepted_draft_tokens - before.accepted_draft_tokens
            print(
                f"{work.name:18} temperature {temperature}: {statistics.median(without):6.1f} → "
                f"{statistics.median(with_drafts):6.1f} tokens/s, "
                f"ratio {ratio(with_drafts, without)}, {accepted}/{drafted} accepted",
                flush=True,
            )
    engine.close()


if __name__ == "__main__":
    main()
