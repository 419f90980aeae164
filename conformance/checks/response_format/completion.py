"""The end of a constrained text, and the constraint on every choice."""

from collections.abc import Callable
from functools import partial
from typing import Any

from conformance.assertions.basic import assert_same_choices, assert_that
from conformance.assertions.response_format import (
    JSON_PROMPT,
    MAX_TOKENS,
    SHORT_JSON_PROMPT,
    constrained_choices,
)
from conformance.fixtures.json_texts import is_instance
from conformance.fixtures.response_formats import (
    COLORS,
    PATTERN,
    json_schema_format,
    matches_pattern,
    regex_format,
)
from conformance.harness.capabilities import (
    ECHO,
    MULTIPLE_CHOICES,
    PROMPT_LISTS,
    SEEDS,
    STREAM,
    has,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.verdicts import Evidence, Level

checks = CheckGroup("response_format")


@checks.consistency(Level.MUST, Evidence.EXACT)
def complete_value_ends(server: Server) -> None:
    """A text that cannot be extended ends there, with the finish_reason `stop`."""
    color = {"enum": list(COLORS)}
    formats: list[tuple[dict[str, Any], Callable[[str], bool]]]
    formats = [
        (regex_format(PATTERN), matches_pattern),
        (json_schema_format(color), partial(is_instance, schema=color)),
    ]
    for response_format, is_complete in formats:
        for choice in constrained_choices(server, response_format, tries=2):
            ended = choice.finish_reason == "stop" and is_complete(choice.text)
            expected = f"a complete text with {response_format}, and stop"
            assert_that(ended, expected, choice.json, choice.at)


@checks.consistency(Level.MUST, Evidence.EXACT)
def truncated_is_valid_prefix(server: Server) -> None:
    """At max_tokens the text is cut off: it is a prefix of a valid text, with the finish_reason
    `length`.
    """
    value = 40 * "abcdefgh"
    formats = [
        (regex_format("(abcdefgh){40}"), value),
        (json_schema_format({"enum": [value]}), f'"{value}"'),
    ]
    for response_format, text in formats:
        for tokens in 1, 7:
            choice = server.complete(max_tokens=tokens, response_format=response_format).choice
            is_prefix = text.startswith(choice.text.lstrip())
            cut_off = choice.finish_reason == "length" and is_prefix
            assert_that(cut_off, f"a prefix of {text[:20]}…, and length", choice.json, choice.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def stop_string_ends_value(server: Server) -> None:
    """A stop string ends a constrained text like any other: the text need not be complete."""
    sentence = regex_format("one, two, three and four")
    choice = server.complete(max_tokens=MAX_TOKENS, response_format=sentence, stop=["three"]).choice
    ended = (choice.text, choice.finish_reason) == ("one, two, ", "stop")
    assert_that(ended, "'one, two, ' and stop", choice.json, choice.at)


@checks.consistency(Level.MUST, Evidence.EXACT, MULTIPLE_CHOICES)
def every_choice_constrained(server: Server) -> None:
    """The format constrains each of `n` choices, each choice of a prompt list, the output after an
    echoed prompt, and a stream.
    """
    fields = {"temperature": 1, "max_tokens": MAX_TOKENS, "response_format": regex_format(PATTERN)}
    choices = server.complete(n=3, **fields).choices
    if has(server, PROMPT_LISTS):
        choices += server.complete(prompt=[JSON_PROMPT, SHORT_JSON_PROMPT], **fields).choices
    if has(server, STREAM):
        choices += server.stream(**fields).completion.choices
    for choice in choices:
        valid = matches_pattern(choice.text)
        assert_that(valid, f"a match of {PATTERN}", repr(choice.text), choice.at)
    if has(server, ECHO):
        choice = server.complete(prompt=JSON_PROMPT, echo=True, **fields).choice
        output = choice.text.removeprefix(JSON_PROMPT)
        valid = choice.text.startswith(JSON_PROMPT) and matches_pattern(output)
        expected = f"the prompt, and a match of {PATTERN}"
        assert_that(valid, expected, repr(choice.text), choice.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def seed_repeatable(server: Server) -> None:
    """A seed samples the same text again, streamed or not; other seeds sample other texts."""
    letters = regex_format("[a-z]{12}")
    fields = {"temperature": 1.5, "max_tokens": 16, "response_format": letters}
    seeds = [server.rng.getrandbits(31) for _ in range(4)]
    first, *others = (server.complete(seed=seed, **fields) for seed in seeds)
    texts = [answer.text for answer in (first, *others)]
    assert_that(len(set(texts)) > 1, "texts that differ", texts, first.at)
    repeated = [server.complete(seed=seeds[0], **fields)]
    if has(server, STREAM):
        repeated.append(server.stream(seed=seeds[0], **fields).completion)
    for answer in repeated:
        assert_same_choices(first.choices, answer.choices, "the same text with one seed")
