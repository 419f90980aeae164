"""Mutants whose constrained texts are invalid."""

import re

from starlette.types import ASGIApp

from reference.bundle import Bundle
from reference.logits import Logits
from reference.sampler import SamplingHistory, sample
from tests.conformance.mutants import mutant
from tests.conformance.mutants.response_format.helpers import (
    drop_format_when,
    fixed_text,
    with_format,
    with_regexes,
    with_schemas,
    without_keywords,
)
from tests.conformance.mutations.engine import Json, conforming_app, with_sampler
from tests.conformance.mutations.requests import drop_fields
from tests.conformance.mutations.responses import mutate_text

RARE_KEYWORDS = (
    "multipleOf",
    "not",
    "if",
    "then",
    "uniqueItems",
    "contains",
    "patternProperties",
    "minProperties",
    "maxProperties",
    "propertyNames",
)
MAX_SAFE_INTEGER = 2**53 - 1


@mutant(
    "response_format/json-object",
    "response_format/json-schema-instance",
    "response_format/regex-match",
    "response_format/greedy-matches-reference",
)
def format_ignored(model: Bundle) -> ASGIApp:
    """Accept and drop the format."""
    return drop_fields(conforming_app(model), "response_format")


@mutant("response_format/regex-match")
def format_sometimes_ignored(model: Bundle) -> ASGIApp:
    """Drop the format of every third request."""
    return drop_format_when(model, lambda body: body.get("seed", 1) % 3 == 0)


@mutant("response_format/json-schema-instance")
def early_end_of_sequence(model: Bundle) -> ASGIApp:
    """End the text before it is complete."""
    [eos, *_] = model.checkpoint.eos_token_ids

    def sample_early_end(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        return eos if history.counts.sum() == 3 else sample(logits, history, noise)

    return with_format(model, with_sampler(model, sample_early_end))


@mutant("response_format/json-object")
def preamble_before_value(model: Bundle) -> ASGIApp:
    """Begin the text with other words, and cut it off."""
    return fixed_text(model, 'Here it is: {"color": "red", "count": 2}', "length")


@mutant("response_format/json-object")
def array_instead_of_object(model: Bundle) -> ASGIApp:
    """Write a JSON array instead of an object."""
    return fixed_text(model, '[{"color": "red"}]')


@mutant("response_format/bounded-whitespace")
def long_whitespace(model: Bundle) -> ASGIApp:
    """Write whitespace of any length."""
    return fixed_text(model, '{"a": "b",' + 20 * " " + '"c": 1}')


@mutant("response_format/json-schema-instance")
def enum_ignored(model: Bundle) -> ASGIApp:
    """Enforce types but not enumerations."""
    return fixed_text(model, '{"color": "blue", "count": 2}')


@mutant("response_format/schema-keywords")
def maximum_too_large(model: Bundle) -> ASGIApp:
    """Allow numbers up to a hundred times the maximum."""
    return with_schemas(
        model, lambda s: s | ({"maximum": 100 * s["maximum"]} if "maximum" in s else {})
    )


@mutant("response_format/schema-keywords")
def pattern_class_too_wide(model: Bundle) -> ASGIApp:
    """Allow two letters in strings that the pattern does not have."""
    return with_schemas(
        model, lambda s: s | ({"pattern": "^[a-e]{1,8}$"} if "pattern" in s else {})
    )


@mutant("response_format/schema-keywords")
def max_length_doubled(model: Bundle) -> ASGIApp:
    """Allow strings of twice the maximum length."""
    return with_schemas(
        model, lambda s: s | ({"maxLength": 2 * s["maxLength"]} if "maxLength" in s else {})
    )


@mutant("response_format/schema-keywords")
def min_items_reduced(model: Bundle) -> ASGIApp:
    """Write arrays with fewer items than the minimum."""
    return with_schemas(
        model, lambda s: s | ({"minItems": 1, "maxItems": 1} if "minItems" in s else {})
    )


@mutant("response_format/schema-keywords")
def references_ignored(model: Bundle) -> ASGIApp:
    """Ignore `$ref`."""
    return without_keywords(model, "$ref")


@mutant("response_format/no-ignored-keyword")
def rare_keywords_ignored(model: Bundle) -> ASGIApp:
    """Ignore keywords that few servers support."""
    return without_keywords(model, *RARE_KEYWORDS)


@mutant("response_format/no-ignored-keyword")
def one_of_as_any_of(model: Bundle) -> ASGIApp:
    """Treat oneOf as anyOf."""
    return with_schemas(model, lambda s: {"anyOf" if k == "oneOf" else k: v for k, v in s.items()})


@mutant("response_format/no-ignored-keyword")
def keyword_not_named(model: Bundle) -> ASGIApp:
    """Refuse a keyword with a message that does not name it."""
    error = '{"error": {"message": "bad schema", "type": "", "param": null, "code": null}}'
    return mutate_text(conforming_app(model), lambda text, kind: error, statuses=(400,))


@mutant("response_format/no-ignored-keyword")
def lookaheads_ignored(model: Bundle) -> ASGIApp:
    """Remove the lookaheads of patterns."""

    def without_lookaheads(schema: Json) -> Json:
        pattern = schema.get("pattern")
        changed = re.sub(r"\(\?[=!][^)]*\)", "", pattern) if isinstance(pattern, str) else pattern
        return schema | ({"pattern": changed} if changed else {})

    return with_schemas(model, without_lookaheads)


def has_long_bound(schema: Json) -> bool:
    """Return whether a bound of a schema needs more digits than a float has."""
    bounds = [schema.get(keyword) for keyword in ("minimum", "maximum")]
    return any(isinstance(bound, int) and abs(bound) > MAX_SAFE_INTEGER for bound in bounds)


@mutant("response_format/long-bounds")
def long_bounds_ignored(model: Bundle) -> ASGIApp:
    """Ignore bounds with more digits than a float has."""
    return with_schemas(model, lambda s: {"type": "integer"} if has_long_bound(s) else s)


@mutant("response_format/long-bounds")
def long_bounds_refused(model: Bundle) -> ASGIApp:
    """Refuse bounds with more digits than a float has."""
    return with_schemas(model, lambda s: {"type": []} if has_long_bound(s) else s)


@mutant("response_format/property-order")
def properties_sorted(model: Bundle) -> ASGIApp:
    """Sort properties by name."""
    return with_schemas(model, lambda s: {name: s[name] for name in sorted(s)})


@mutant("response_format/regex-match", "response_format/complete-value-ends")
def regex_prefix_match(model: Bundle) -> ASGIApp:
    """Continue the text after it matches."""
    return with_regexes(model, lambda regex: f"({regex}).{{20}}")
