"""response_format: what the text must be."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from conformance.assertions.basic import (
    each,
    error_of,
    refused,
    require,
    same,
    same_answer,
)
from conformance.assertions.logprobs import must_be_alike, renormalised
from conformance.assertions.next_token import naming, row_of
from conformance.checks.sampler import Bets
from conformance.checks.seed import follows, would_choose
from conformance.fixtures.json_texts import (
    begins_a_value,
    begins_an_object,
    is_instance,
    is_object,
    value_of,
    without_strings,
)
from conformance.harness.capabilities import (
    ECHO,
    LOGPROBS,
    PROMPT_LISTS,
    SEEDS,
    SEVERAL,
    STREAM,
    Capability,
    has,
)
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.oracle.dialects import NAMES, chain
from conformance.oracle.greedy_paths import output_of, path
from conformance.oracle.sampling import PROMPTS, fresh_seed, neutral
from conformance.oracle.statistics import rejects
from conformance.verdicts import Evidence, Inconclusive, Level, NonStrict, Unsupported
from reference.logits import Logits
from reference.sampler import SamplingHistory, final_logits
from reference.threefry import noise

OBJECT = {"type": "json_object"}
COLOURS = ("red", "green")
PATTERN = r"[ab]{2,4}-[0-9]{3}"
LETTERS = "[a-z]+"
CUTS: tuple[dict[str, Any], ...] = (
    {"top_k": 4},
    {"top_k": 8, "top_p": 0.8},
    {"top_k": 4, "min_p": 0.01},
    {"min_p": 0.1},
)
LAST = chain((*NAMES[1:], NAMES[0]))
PROMPT = "Write a JSON record of a person named Lily.\n"
OTHER = "JSON: "
TOKENS = 48
TRIES = 6


def object_of(**properties: Any) -> dict[str, Any]:
    """The schema of an object that has these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMA = object_of(colour={"type": "string", "enum": list(COLOURS)}, count={"type": "integer"})
TREE = object_of(
    leaf={"type": "boolean"}, next={"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}
)
SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "string", "pattern": "^[a-c]{1,8}$"},
    {"type": "string", "minLength": 3, "maxLength": 6},
    {"type": "array", "items": {"enum": ["red", 3, None]}, "minItems": 2, "maxItems": 3},
    {"$defs": {"tree": TREE}, "$ref": "#/$defs/tree"},
    {"type": "number", "minimum": 0, "maximum": 1.5},
)

# By keyword, a schema of which hardly anything is an instance that is one of its rest.
NUMBER = {"type": "integer", "minimum": 1, "maximum": 99}
FOUR: dict[str, Any] = {"type": "array", "items": {"enum": [1, 2, 3, 4]}}
FOUR |= {"minItems": 4, "maxItems": 4}
SELDOM: Mapping[str, dict[str, Any]] = {
    "multipleOf": NUMBER | {"multipleOf": 97},
    "not": NUMBER | {"not": {"maximum": 97}},
    "if": NUMBER | {"if": {"minimum": 1}, "then": {"minimum": 98}},
    "oneOf": NUMBER | {"oneOf": [{"minimum": 1}, {"maximum": 97}]},
    "uniqueItems": FOUR | {"uniqueItems": True},
    "contains": FOUR | {"items": NUMBER, "minItems": 1, "maxItems": 1, "contains": {"const": 97}},
    "patternProperties": object_of(a=NUMBER) | {"patternProperties": {"^a": {"minimum": 98}}},
}


def of_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def of_pattern(regex: Any) -> dict[str, Any]:
    return {"type": "regex", "regex": regex}


@protocol(Level.MUST, Evidence.EXACT)
def wrong_shapes_are_refused(server: Server) -> None:
    """What is no object with a known type and what that type needs is a 422 that names the
    field.
    """
    wrong: list[Any] = ["text", [], 3, {}, {"type": None}, {"type": "yaml"}]
    wrong += [{"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "a"}}]
    wrong += [of_schema("object"), {"type": "regex"}, of_pattern(3)]
    refused(server, "response_format", wrong)


@protocol(Level.MUST, Evidence.EXACT)
def what_cannot_be_used_is_refused(server: Server) -> None:
    """A schema or a regular expression that means nothing is a 400 that says so in `error`."""
    for value in of_schema({"type": "no-such-type"}), of_pattern("(a"):
        error_of(server.post(response_format=value), 400)


@protocol(Level.MUST, Evidence.EXACT)
def what_no_text_can_be_is_refused(server: Server) -> None:
    """A schema that has no instance, or none that ends, is a 400 that says so in `error`."""
    none = {"type": "integer", "minimum": 3, "maximum": 2}, object_of(a=False)
    endless = object_of(a={"$ref": "#"})
    for schema in *none, endless:
        error_of(server.post(response_format=of_schema(schema)), 400)


@protocol(Level.MUST, Evidence.EXACT)
def what_is_hard_is_answered(server: Server) -> None:
    """A regular expression or a schema that takes much to follow is followed, or refused by a
    4xx.
    """
    choices = [{"anyOf": [{"minimum": i}, {"maximum": -i}]} for i in range(1, 30)]
    formats = [of_schema({"allOf": choices}), of_schema({"$ref": "#"})]
    formats += map(of_pattern, ("(a{1000}){1000}", "(((a+)+)+)+$", "(a?){300}a{300}"))
    for format in formats:
        reply = server.post(response_format=format)
        require(reply.status < 500, "a text, or a 4xx", reply.status, reply.at)
        if reply.status == 200 and "regex" in format:
            [choice] = reply.json["choices"]
            require(not choice["text"].strip("a"), "nothing but a", choice["text"], reply.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def text_is_any_text(server: Server) -> None:
    """With null, and with the type `text`, the answer is the one without the field."""
    plain = server.ask()
    for value in None, {"type": "text"}:
        answer = server.ask(response_format=value)
        same_answer(plain, answer, f"the same answer with {value} and without")


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def text_does_not_enter_the_draws(server: Server) -> None:
    """With null, and with the type `text`, a seed draws what it draws without the field."""
    fields = {"temperature": 1.5, "seed": server.rng.getrandbits(31)}
    plain = server.ask(**fields)
    for value in None, {"type": "text"}:
        answer = server.ask(response_format=value, **fields)
        same_answer(plain, answer, f"the same answer with {value} and without")


@consistency(Level.MUST, Evidence.EXACT)
def json_object_is_an_object(server: Server) -> None:
    """With `json_object` a text that ended by itself is a JSON object, and one that was cut off is
    the beginning of one.
    """
    hold(objects(server), is_object, begins_an_object, "a JSON object")


@consistency(Level.MUST, Evidence.EXACT)
def white_space_is_bounded(server: Server) -> None:
    """Between the parts of a JSON object there are at most 8 characters of white space in a run: a
    model that likes them could go on for ever.
    """
    bounded = "at most 8 characters of white space"
    hold(objects(server), short_of_space, short_of_space, bounded)


def short_of_space(text: str) -> bool:
    return re.search(r"\s{9,}", without_strings(text)) is None


@consistency(Level.MUST, Evidence.EXACT)
def json_schema_is_an_instance(server: Server) -> None:
    """With `json_schema` a text that ended by itself is an instance of the schema, and one that was
    cut off is the beginning of an object.
    """
    instances(server, SCHEMA, begins_an_object, tries=4)


@consistency(Level.MUST, Evidence.EXACT)
def each_part_of_a_schema_holds(server: Server) -> None:
    """Numbers keep to their bounds, strings to their pattern and their length, arrays to theirs,
    values to their list, and a schema may refer to itself.
    """
    otherwise: list[Unsupported | Inconclusive] = []
    for schema in SCHEMAS:
        try:
            instances(server, schema, begins_a_value, tries=2)
        except (Unsupported, Inconclusive) as outcome:
            otherwise.append(outcome)
    if len(otherwise) == len(SCHEMAS):
        raise otherwise[0]


@consistency(Level.MUST, Evidence.EXACT)
def no_keyword_is_ignored(server: Server) -> None:
    """A keyword of JSON Schema is honoured, or refused by a 400 that names it."""
    instances(server, NUMBER, begins_a_value, tries=1)
    each(partial(honoured_or_refused, server, name, SELDOM[name]) for name in SELDOM)


def honoured_or_refused(server: Server, keyword: str, schema: dict[str, Any]) -> None:
    reply = server.post(response_format=of_schema(schema))
    if reply.status == 200:
        return instances(server, schema, begins_a_value, tries=3)
    message = error_of(reply, 400)["message"]
    if keyword not in str(message):
        note = "refused, but not said for what"
        raise NonStrict(f"a message that names {keyword}", repr(message), note=note, at=reply.at)


@consistency(Level.SHOULD, Evidence.EXACT)
def properties_come_in_order(server: Server) -> None:
    """The properties of an object come in the order in which the schema lists them."""
    names = ["z", "a", "m"]
    listed = of_schema(object_of(**dict.fromkeys(names, {"type": "null"})))

    def ordered(text: str) -> bool:
        found = value_of(text)
        return isinstance(found, dict) and list(found) == names

    choices = drawn(server, listed, tries=3, tokens=2 * TOKENS)
    hold(choices, ordered, begins_an_object, f"properties in the order {names}")


@consistency(Level.MUST, Evidence.EXACT)
def regex_is_matched(server: Server) -> None:
    """With `regex` a text that ended by itself matches as a whole, and one that was cut off begins
    like one that does.
    """
    expected = f"a text that matches {PATTERN}"
    hold(drawn(server, of_pattern(PATTERN)), matches, begins_a_match, expected)


@consistency(Level.MUST, Evidence.EXACT)
def what_is_whole_ends(server: Server) -> None:
    """A text that nothing may follow ends there: its finish_reason is `stop`."""
    colour = {"enum": list(COLOURS)}
    wholes: list[tuple[dict[str, Any], Callable[[str], bool]]]
    wholes = [(of_pattern(PATTERN), matches), (of_schema(colour), partial(is_instance, of=colour))]
    for format, whole in wholes:
        for choice in drawn(server, format, tries=2):
            ended = choice.finish_reason == "stop" and whole(choice.text)
            require(ended, f"a whole text with {format}, and stop", choice.json, choice.at)


@consistency(Level.MUST, Evidence.EXACT)
def cut_off_it_is_a_beginning(server: Server) -> None:
    """At max_tokens the text is cut off: what there is can still become what was asked for, and its
    finish_reason is `length`.
    """
    whole = 40 * "abcdefgh"
    long = (of_pattern("(abcdefgh){40}"), whole), (of_schema({"enum": [whole]}), f'"{whole}"')
    for format, text in long:
        for tokens in 1, 7:
            choice = server.ask(max_tokens=tokens, response_format=format).choice
            well = choice.finish_reason == "length" and text.startswith(choice.text.lstrip())
            require(well, f"a beginning of {text[:20]}…, and length", choice.json, choice.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def a_stop_string_ends_it(server: Server) -> None:
    """A stop string ends the text before it, as it ends any other: what there is need not be
    whole.
    """
    format = of_pattern("one, two, three and four")
    choice = server.ask(max_tokens=TOKENS, response_format=format, stop=["three"]).choice
    ended = (choice.text, choice.finish_reason) == ("one, two, ", "stop")
    require(ended, "'one, two, ' and stop", choice.json, choice.at)


@consistency(Level.MUST, Evidence.EXACT, SEVERAL)
def every_choice_keeps_to_it(server: Server) -> None:
    """Each of `n` choices keeps to it, each of a list of prompts, what comes after an echoed
    prompt, and what is streamed.
    """
    asked = {"temperature": 1, "max_tokens": TOKENS, "response_format": of_pattern(PATTERN)}
    choices = server.ask(n=3, **asked).choices
    if has(server, PROMPT_LISTS):
        choices += server.ask(prompt=[PROMPT, OTHER], **asked).choices
    if has(server, STREAM):
        choices += server.stream(**asked).answer.choices
    for choice in choices:
        require(matches(choice.text), f"a match of {PATTERN}", repr(choice.text), choice.at)
    if has(server, ECHO):
        choice = server.ask(prompt=PROMPT, echo=True, **asked).choice
        echoed = choice.text.startswith(PROMPT) and matches(choice.text.removeprefix(PROMPT))
        require(echoed, f"the prompt, and a match of {PATTERN}", repr(choice.text), choice.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def a_seed_draws_one_text(server: Server) -> None:
    """The same seed draws the same text again, and when it is streamed; other seeds draw others."""
    asked = {"temperature": 1.5, "max_tokens": 16, "response_format": of_pattern("[a-z]{12}")}
    seeds = [server.rng.getrandbits(31) for _ in range(4)]
    first, *others = (server.ask(seed=seed, **asked) for seed in seeds)
    texts = [answer.text for answer in (first, *others)]
    require(len(set(texts)) > 1, "texts that differ", texts, first.at)
    again = [server.ask(seed=seeds[0], **asked)]
    if has(server, STREAM):
        again.append(server.stream(seed=seeds[0], **asked).answer)
    for answer in again:
        same(first.choices, answer.choices, "the same text of one seed")


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def log_probabilities_are_those_before_it(server: Server) -> None:
    """The log-probabilities after a prompt are the same with a format as without."""
    row = row_of(server, PROMPTS[0])
    other = row_of(server, PROMPTS[0], response_format=OBJECT)
    must_be_alike(row, other, f"{OBJECT}", {"after the format": renormalised(row, other)})


FORMATS = (OBJECT, of_schema(SCHEMA), of_pattern(PATTERN))


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def greedy_texts_are_those_of_the_reference(server: Server) -> None:
    """At temperature 0 each token is the likeliest of all that the text can go on with, however
    these cut it into tokens.
    """
    for format in FORMATS:
        path(server, PROMPT, 12, response_format=format)


@truth(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_are_of_what_may_come(server: Server) -> None:
    """What cannot come next is left out before all other steps: of the rest, each token is drawn as
    often as the reference draws it.
    """
    bets = Bets(server)
    bets.known["response_format after truncation"] = late
    bets.ratios["response_format after truncation"] = 0.0
    for turn, prompt in enumerate(PROMPTS[:8]):
        cut = CUTS[turn % len(CUTS)]
        params = {"temperature": 1, "response_format": of_pattern(LETTERS), **cut}
        fields = {"prompt": prompt, "max_tokens": 12, **fresh_seed(server)}
        choice, output = output_of(server, **neutral(server) | fields | params)
        for position, step in enumerate(server.truth.steps(prompt, params, output), 1):
            bets.add(step, f"token {position} of {choice.text!r} with {params}", choice)
        if rejects(bets.evidence, server.alpha):
            raise bets.verdict("tokens as often as the reference draws them", bets.odds, choice)


def late(x: Logits, h: SamplingHistory) -> Logits:
    """What cannot come next is left out last of all, unless nothing is left then."""
    found = LAST(x, h)
    return found if np.isfinite(found).any() else final_logits(x, h)


def generator(server: Server) -> None:
    """Raises NonStrict if seeds draw something else than they do for the reference."""
    fields = {"max_tokens": 8, "temperature": 1, "seed": 7, "logprobs": 1}
    answer = server.ask(prompt=PROMPTS[0], **neutral(server), **naming(server), **fields)
    follows(server.truth, PROMPTS[0], 7, answer.choice)


GENERATOR = Capability("the reference's generator", generator)


@truth(Level.MUST, Evidence.EXACT, LOGPROBS, GENERATOR)
def seeded_texts_are_those_of_the_reference(server: Server) -> None:
    """Where seeds draw what the reference draws, each token has the highest sum of logit and noise
    of all that the text can go on with.
    """
    truth = server.truth
    for format in FORMATS:
        params, seed = {"temperature": 1, "response_format": format}, server.rng.getrandbits(31)
        fields = {"prompt": PROMPT, "max_tokens": 12, "seed": seed, **neutral(server), **params}
        choice, output = output_of(server, **fields)
        for position, step in enumerate(truth.steps(PROMPT, params, output)):
            own = noise(seed, 0, position, len(step.logits))
            right = would_choose(step, own, truth.tolerance)
            seen = f"{truth.text(PROMPT, step.token)!r}, of {choice.text!r}"
            require(right, f"another token as token {position + 1}", seen, choice.at)


def objects(server: Server) -> list[Choice]:
    """Texts of json_object. Asked for once a run."""
    facts = server.target.facts
    if "objects" not in facts:
        facts["objects"] = list(drawn(server, OBJECT))
    found: list[Choice] = facts["objects"]
    return found


def drawn(
    server: Server, format: Any, tries: int = TRIES, tokens: int = TOKENS
) -> Iterator[Choice]:
    """Texts of a format, the likeliest and random ones."""
    asked = {"max_tokens": tokens, "response_format": format}
    for i in range(tries):
        chance = {"temperature": 1, **fresh_seed(server)} if i else {}
        yield server.ask(prompt=OTHER if i % 2 else PROMPT, **asked, **chance).choice


def hold(
    choices: Iterable[Choice],
    holds: Callable[[str], bool],
    begins: Callable[[str], bool],
    expected: str,
) -> None:
    """Each text that ended by itself is a right one, and each that was cut off begins like one.
    Raises Inconclusive if none ended.
    """
    ended = False
    for choice in choices:
        whole = choice.finish_reason == "stop"
        well = holds if whole else begins
        require(well(choice.text), expected, repr(choice.text), choice.at)
        ended = ended or whole
    if not ended:
        raise Inconclusive("every text was cut off at max_tokens")


def instances(server: Server, schema: Any, begins: Callable[[str], bool], tries: int) -> None:
    expected = f"an instance of {json.dumps(schema)}"
    hold(drawn(server, of_schema(schema), tries), partial(is_instance, of=schema), begins, expected)


def matches(text: str) -> bool:
    return re.fullmatch(PATTERN, text) is not None


def begins_a_match(text: str) -> bool:
    return re.fullmatch(r"[ab]{0,4}|[ab]{2,4}-[0-9]{0,3}", text) is not None
