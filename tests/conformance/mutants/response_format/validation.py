"""Mutants of the validation of formats."""

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutants.response_format.helpers import (
    format_type,
    with_format,
    with_schemas,
)
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import mutate_body
from tests.conformance.mutations.responses import mutate_response

TYPES = ("text", "json_object", "json_schema", "regex")


@mutant("response_format/malformed-format-422")
def unknown_type_is_text(model: Bundle) -> ASGIApp:
    """Treat an unknown type as text."""

    def as_text(body: Json) -> Json:
        unknown = isinstance(format_type(body), str) and format_type(body) not in TYPES
        return body | ({"response_format": None} if unknown else {})

    return mutate_body(conforming_app(model), as_text)


@mutant("response_format/invalid-schema-or-regex-400")
def invalid_regex_dropped(model: Bundle) -> ASGIApp:
    """Drop a regular expression that does not compile."""
    drop = {"response_format": None}
    return mutate_body(
        conforming_app(model), lambda b: b | (drop if format_type(b) == "regex" else {})
    )


@mutant("response_format/unsatisfiable-schema-400")
def swapped_bounds(model: Bundle) -> ASGIApp:
    """Swap the bounds of a schema whose minimum is above its maximum."""

    def ordered(schema: Json) -> Json:
        bounds = [schema.get("minimum", 0), schema.get("maximum", 0)]
        swapped = dict(zip(("minimum", "maximum"), sorted(bounds), strict=True))
        return schema | (swapped if bounds[0] > bounds[1] else {})

    return with_schemas(model, ordered)


@mutant("response_format/complex-schema")
def too_complex_500(model: Bundle) -> ASGIApp:
    """Answer a 500 for a format that is too complex."""
    text = '{"error": "too complex"}'
    return with_format(
        model,
        mutate_response(
            conforming_app(model), lambda _, s: (500, s[1], text) if s[0] == 400 else s
        ),
    )


@mutant("response_format/text-type-unconstrained")
def prompt_templated(model: Bundle) -> ASGIApp:
    """Apply a chat template to the prompt if there is a format."""

    def apply_template(body: Json) -> Json:
        return body | ({"prompt": f"User: {body['prompt']}"} if format_type(body) else {})

    return mutate_body(conforming_app(model), apply_template)


@mutant("response_format/text-type-same-samples")
def seed_changed(model: Bundle) -> ASGIApp:
    """Sample with another seed if there is a format."""

    def change_seed(body: Json) -> Json:
        changed = format_type(body) and "seed" in body
        return body | ({"seed": body["seed"] + 1} if changed else {})

    return mutate_body(conforming_app(model), change_seed)
