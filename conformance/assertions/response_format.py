"""Assertions about texts that a `response_format` constrains."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from conformance.assertions.basic import assert_that
from conformance.fixtures.json_texts import is_instance
from conformance.fixtures.response_formats import json_schema_format
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.oracle.dialects import STEP_NAMES, chain
from conformance.oracle.sampling import fresh_seed
from conformance.verdicts import Inconclusive
from reference.logits import Logits
from reference.sampler import SamplingHistory, final_logits

JSON_PROMPT = "Write a JSON record of a person named Lily.\n"
SHORT_JSON_PROMPT = "JSON: "
MAX_TOKENS = 48
TRIES = 6
MASK_LAST = chain((*STEP_NAMES[1:], STEP_NAMES[0]))


def constrained_choices(
    server: Server, response_format: Any, tries: int = TRIES, max_tokens: int = MAX_TOKENS
) -> Iterator[Choice]:
    """Yield choices of a format: the first is greedy, the others are sampled."""
    fields = {"max_tokens": max_tokens, "response_format": response_format}
    for i in range(tries):
        sampling = {"temperature": 1, **fresh_seed(server)} if i else {}
        prompt = SHORT_JSON_PROMPT if i % 2 else JSON_PROMPT
        yield server.complete(prompt=prompt, **fields, **sampling).choice


def assert_valid(
    choices: Iterable[Choice],
    is_valid: Callable[[str], bool],
    is_valid_prefix: Callable[[str], bool],
    expected: str,
) -> None:
    """Assert that each complete text is valid and that each truncated text is a valid prefix.

    Raises Inconclusive if every text is truncated.
    """
    any_complete = False
    for choice in choices:
        complete = choice.finish_reason == "stop"
        holds = is_valid if complete else is_valid_prefix
        assert_that(holds(choice.text), expected, repr(choice.text), choice.at)
        any_complete = any_complete or complete
    if not any_complete:
        raise Inconclusive("every text was cut off at max_tokens")


def assert_instances(
    server: Server, schema: Any, is_valid_prefix: Callable[[str], bool], tries: int
) -> None:
    """Assert that texts of a schema's format are instances of the schema, or valid prefixes."""
    choices = constrained_choices(server, json_schema_format(schema), tries)
    expected = f"an instance of {json.dumps(schema)}"
    assert_valid(choices, partial(is_instance, schema=schema), is_valid_prefix, expected)


def mask_after_truncation(x: Logits, h: SamplingHistory) -> Logits:
    """Apply the token mask after all other steps, unless no token is left then: a wrong order."""
    masked = MASK_LAST(x, h)
    return masked if np.isfinite(masked).any() else final_logits(x, h)
