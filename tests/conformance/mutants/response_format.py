"""response_format, broken. What a server gets wrong is asked of ours as another format, where one
is wrong in that way; else it is put in its mouth.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from starlette.types import ASGIApp

from conformance.checks.response_format import late
from reference import logits as l
from reference.bundle import Bundle
from reference.logits import Logits
from reference.sampler import SamplingHistory, choose, final_logits, sample
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    answering,
    asking,
    drawing,
    each_choice,
    params,
    replacing,
    replying,
    rewriting,
    sometimes,
    steps,
    telling,
    whole,
    without,
)

TYPES = ("text", "json_object", "json_schema", "regex")
UNKNOWN = ("multipleOf", "not", "if", "then", "uniqueItems", "contains", "patternProperties")


def saying(model: Bundle, text: str, reason: str = "stop") -> ASGIApp:
    """Every format is accepted, and the text is always the same."""
    said = {"text": text, "finish_reason": reason}
    app = without(whole(model), "response_format")
    return answering(app, each_choice(lambda choice: choice.update(said)))


def kind(body: Json) -> Any:
    found = body.get("response_format")
    return found.get("type") if isinstance(found, dict) else None


def with_format(model: Bundle, broken: ASGIApp) -> ASGIApp:
    """It is broken only where there is a format, and not `text`."""
    return sometimes(model, lambda body: kind(body) not in (None, "text"), broken)


def dropping(model: Bundle, when: Callable[[Json], Any]) -> ASGIApp:
    """A format is accepted and dropped where the rest of the request is such."""
    return sometimes(model, when, without(whole(model), "response_format"))


def schemas(model: Bundle, change: Callable[[Json], Json]) -> ASGIApp:
    """Each schema, and each part of one, is another."""

    def everywhere(part: Any) -> Any:
        if isinstance(part, list):
            return [everywhere(item) for item in part]
        if isinstance(part, dict):
            return change({name: everywhere(item) for name, item in part.items()})
        return part

    def other(body: Json) -> Json:
        if kind(body) == "json_schema":
            found = body["response_format"]["json_schema"]
            found["schema"] = everywhere(found["schema"])
        return body

    return asking(whole(model), other)


def leaving_out(model: Bundle, *names: str) -> ASGIApp:
    """Keywords are ignored."""
    return schemas(model, lambda s: {k: v for k, v in s.items() if k not in names})


def regexes(model: Bundle, change: Callable[[str], str]) -> ASGIApp:
    """Each regular expression is another."""

    def other(body: Json) -> Json:
        if kind(body) == "regex":
            found = body["response_format"]
            found["regex"] = change(found["regex"])
        return body

    return asking(whole(model), other)


def ending(model: Bundle, change: Callable[[Json], None]) -> ASGIApp:
    """With a format, choices are changed."""
    return with_format(model, answering(whole(model), each_choice(change), each_choice(change)))


@mutant("response_format/wrong-shapes-are-refused")
def unknown_is_text(model: Bundle) -> ASGIApp:
    """A type that is not known is text."""

    def text(body: Json) -> Json:
        unknown = isinstance(kind(body), str) and kind(body) not in TYPES
        return body | ({"response_format": None} if unknown else {})

    return asking(whole(model), text)


@mutant("response_format/what-cannot-be-used-is-refused")
def unusable_is_none(model: Bundle) -> ASGIApp:
    """A regular expression that does not compile is left out."""
    drop = {"response_format": None}
    return asking(whole(model), lambda b: b | (drop if kind(b) == "regex" else {}))


@mutant("response_format/what-no-text-can-be-is-refused")
def bounds_in_any_order(model: Bundle) -> ASGIApp:
    """Where the minimum is above the maximum, the one is taken for the other."""

    def ordered(schema: Json) -> Json:
        found = [schema.get("minimum", 0), schema.get("maximum", 0)]
        both = dict(zip(("minimum", "maximum"), sorted(found), strict=True))
        return schema | (both if found[0] > found[1] else {})

    return schemas(model, ordered)


@mutant("response_format/what-is-hard-is-answered")
def gives_up(model: Bundle) -> ASGIApp:
    """What cannot be followed is a 500."""
    text = '{"error": "too complex"}'
    return with_format(
        model, replying(whole(model), lambda _, s: (500, s[1], text) if s[0] == 400 else s)
    )


@mutant("response_format/text-is-any-text")
def a_chat(model: Bundle) -> ASGIApp:
    """With a format the prompt is put into a template."""

    def chat(body: Json) -> Json:
        return body | ({"prompt": f"User: {body['prompt']}"} if kind(body) else {})

    return asking(whole(model), chat)


@mutant("response_format/text-does-not-enter-the-draws")
def another_sampler(model: Bundle) -> ASGIApp:
    """With a format the draws are another sampler's."""

    def other(body: Json) -> Json:
        return body | ({"seed": body["seed"] + 1} if kind(body) and "seed" in body else {})

    return asking(whole(model), other)


@mutant(
    "response_format/json-object-is-an-object",
    "response_format/json-schema-is-an-instance",
    "response_format/regex-is-matched",
    "response_format/greedy-texts-are-those-of-the-reference",
)
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "response_format")


@mutant("response_format/regex-is-matched")
def ignored_now_and_then(model: Bundle) -> ASGIApp:
    """One request of three is answered as if it had none."""
    return dropping(model, lambda body: body.get("seed", 1) % 3 == 0)


@mutant("response_format/json-schema-is-an-instance")
def the_end_at_any_time(model: Bundle) -> ASGIApp:
    """The text may end before it is complete."""
    [end, *_] = model.checkpoint.eos_token_ids

    def soon(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        return end if history.counts.sum() == 3 else sample(logits, history, noise)

    return with_format(model, drawing(model, soon))


@mutant("response_format/json-object-is-an-object")
def talk_before_it(model: Bundle) -> ASGIApp:
    """The text begins with something else, and is cut off."""
    return saying(model, 'Here it is: {"colour": "red", "count": 2}', "length")


@mutant("response_format/json-object-is-an-object")
def a_list(model: Bundle) -> ASGIApp:
    """The text is JSON, and no object."""
    return saying(model, '[{"colour": "red"}]')


@mutant("response_format/white-space-is-bounded")
def much_space(model: Bundle) -> ASGIApp:
    """White space may be of any length."""
    return saying(model, '{"a": "b",' + 20 * " " + '"c": 1}')


@mutant("response_format/json-schema-is-an-instance")
def no_enum(model: Bundle) -> ASGIApp:
    """Types are seen to, and enumerations are not."""
    return saying(model, '{"colour": "blue", "count": 2}')


@mutant("response_format/each-part-of-a-schema-holds")
def too_large(model: Bundle) -> ASGIApp:
    """Numbers may be a hundred times too large."""
    return schemas(model, lambda s: s | ({"maximum": 100 * s["maximum"]} if "maximum" in s else {}))


@mutant("response_format/each-part-of-a-schema-holds")
def wide_classes(model: Bundle) -> ASGIApp:
    """Strings may have two letters that the pattern does not have."""
    return schemas(model, lambda s: s | ({"pattern": "^[a-e]{1,8}$"} if "pattern" in s else {}))


@mutant("response_format/each-part-of-a-schema-holds")
def too_long(model: Bundle) -> ASGIApp:
    """Strings may be twice as long."""
    return schemas(
        model, lambda s: s | ({"maxLength": 2 * s["maxLength"]} if "maxLength" in s else {})
    )


@mutant("response_format/each-part-of-a-schema-holds")
def one_item_less(model: Bundle) -> ASGIApp:
    """Arrays may have one item less than they must."""
    return schemas(model, lambda s: s | ({"minItems": 1, "maxItems": 1} if "minItems" in s else {}))


@mutant("response_format/each-part-of-a-schema-holds")
def references_are_anything(model: Bundle) -> ASGIApp:
    """What is referred to is not looked at."""
    return leaving_out(model, "$ref")


@mutant("response_format/no-keyword-is-ignored")
def unknown_keywords_are_ignored(model: Bundle) -> ASGIApp:
    """What is not known of a schema is left out of it."""
    return leaving_out(model, *UNKNOWN)


@mutant("response_format/no-keyword-is-ignored")
def one_of_is_any_of(model: Bundle) -> ASGIApp:
    """Of oneOf, several may hold."""
    return schemas(model, lambda s: {"anyOf" if k == "oneOf" else k: v for k, v in s.items()})


@mutant("response_format/no-keyword-is-ignored")
def a_bad_schema(model: Bundle) -> ASGIApp:
    """The error does not say what it is about."""
    said = '{"error": {"message": "bad schema", "type": "", "param": null, "code": null}}'
    return rewriting(whole(model), lambda text, kind: said, statuses=(400,))


@mutant("response_format/properties-come-in-order")
def in_alphabetical_order(model: Bundle) -> ASGIApp:
    """Properties are sorted."""
    return schemas(model, lambda s: {name: s[name] for name in sorted(s)})


@mutant("response_format/regex-is-matched", "response_format/what-is-whole-ends")
def in_the_beginning(model: Bundle) -> ASGIApp:
    """The beginning of the text matches, and it goes on."""
    return regexes(model, lambda regex: f"({regex}).{{20}}")


@mutant("response_format/what-is-whole-ends")
def full(model: Bundle) -> ASGIApp:
    """The end of a text counts as having no more room."""
    return ending(model, lambda choice: choice.update(finish_reason="length"))


@mutant("response_format/cut-off-it-is-a-beginning")
def repaired(model: Bundle) -> ASGIApp:
    """What is cut off is closed."""

    def close(choice: Json) -> None:
        if choice["finish_reason"] == "length":
            choice["text"] += '"}'

    return ending(model, close)


@mutant("response_format/cut-off-it-is-a-beginning")
def as_if_whole(model: Bundle) -> ASGIApp:
    """What is cut off has ended by itself."""
    return ending(model, lambda choice: choice.update(finish_reason="stop"))


@mutant("response_format/a-stop-string-ends-it")
def only_when_whole(model: Bundle) -> ASGIApp:
    """With a format, stop strings are ignored."""
    return with_format(model, without(whole(model), "stop"))


@mutant("response_format/every-choice-keeps-to-it")
def only_alone(model: Bundle) -> ASGIApp:
    """Of several choices none keeps to it."""
    return dropping(model, lambda body: body.get("n", 1) > 1)


@mutant("response_format/every-choice-keeps-to-it")
def only_one_prompt(model: Bundle) -> ASGIApp:
    """Of a list of prompts none keeps to it."""
    return dropping(model, lambda body: isinstance(body["prompt"], list))


@mutant("response_format/every-choice-keeps-to-it", "response_format/a-seed-draws-one-text")
def only_as_a_whole(model: Bundle) -> ASGIApp:
    """What is streamed does not keep to it."""
    return dropping(model, lambda body: body.get("stream"))


@mutant("response_format/every-choice-keeps-to-it")
def only_without_a_prompt(model: Bundle) -> ASGIApp:
    """What follows an echoed prompt does not keep to it."""
    return dropping(model, lambda body: body.get("echo"))


@mutant("response_format/a-seed-draws-one-text")
def chance_of_its_own(model: Bundle) -> ASGIApp:
    """With a format, seeds are ignored."""
    return with_format(model, without(whole(model), "seed"))


@mutant("response_format/a-seed-draws-one-text")
def no_chance(model: Bundle) -> ASGIApp:
    """With a format, the likeliest token is taken."""
    return with_format(model, replacing(whole(model), "temperature", lambda _: 0))


@mutant("response_format/log-probabilities-are-those-before-it")
def reported_after_it(model: Bundle) -> ASGIApp:
    """The log-probabilities are those of what may come."""

    def masking(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        logits[:] = l.mask(logits, history.allowed)
        return choose(final_logits(logits, history), noise)

    return with_format(model, drawing(model, masking))


@mutant("response_format/greedy-texts-are-those-of-the-reference")
def long_tokens(model: Bundle) -> ASGIApp:
    """Where few tokens may come, the longest is taken: the text is cut into tokens as if it had
    been read.
    """
    lengths = np.array([len(piece) for piece in model.vocabulary.pieces])

    def longest(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        if history.allowed.sum() > 20:
            return sample(logits, history, noise)
        return int(np.argmax(np.where(history.allowed, lengths, -1)))

    return with_format(model, drawing(model, longest))


@mutant("response_format/draws-are-of-what-may-come")
def masked_late(model: Bundle) -> ASGIApp:
    """The tokens that may come are looked for among those that truncation leaves, unless it leaves
    none of them.
    """
    return steps(model, late)


@mutant("response_format/draws-are-of-what-may-come")
def not_truncated(model: Bundle) -> ASGIApp:
    """With a format, top_p, top_k and min_p are ignored."""
    return with_format(model, telling(model, lambda r: params(r, top_p=1.0, top_k=0, min_p=0.0)))


@mutant("response_format/seeded-texts-are-those-of-the-reference")
def other_noise(model: Bundle) -> ASGIApp:
    """With a format, noise is drawn for the tokens in another order."""

    def turned(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        return sample(logits, history, noise[::-1])

    return with_format(model, drawing(model, turned))
