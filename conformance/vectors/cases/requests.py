"""Request bodies, and the status of the response. For authors of an HTTP endpoint."""

import re
from collections.abc import Iterator
from typing import Any

from conformance.fixtures.parameters import Parameter, parameters
from conformance.vectors.families import COUNT, EXACT, OBJECT, TEXT, Family, nullable
from conformance.vectors.lines import Case

VALID: dict[str, Any] = {"model": "m", "prompt": "a", "max_tokens": 1}
BAD_REQUEST = "400 for an invalid value"
HUGE = 2**53  # a larger integer is not exact in every JSON library
# A text-only model; a value that needs another field, or a long output, is not a case of its own.
LEFT_OUT = ("data", "stream_options")


def request_case(
    name: str, fields: dict[str, Any], status: int, field: str | None, *flags: str
) -> Case:
    """Return a case. field: the first item of the error's path after "body"."""
    dialects = {BAD_REQUEST: {"status": 400, "field": field}} if status == 422 else {}
    return Case(
        id=f"request/{name}",
        input={"body": {**VALID, **fields}},
        expect={"status": status, "field": field},
        flags=flags,
        dialects=dialects,
    )


def slug(value: Any) -> str:
    """Return a value in the letters of an id."""
    text = str(value).lower().replace("-", "minus ").replace("+", "plus ").replace(".", " point ")
    return re.sub("[^a-z0-9]+", "-", text).strip("-") or "empty"


def parameter_cases(parameter: Parameter) -> Iterator[Case]:
    name = parameter.name
    for value in parameter.outside() if parameter.is_bounded else []:
        if is_exact(value):
            yield request_case(f"{name}-{slug(value)}", {name: value}, 422, name, "boundary")
    for value in parameter.wrong_values:
        kind = f"{type(value).__name__}-{slug(value)}"
        yield request_case(f"{name}-wrong-type-{kind}", {name: value}, 422, name)
    for value in parameter.endpoints() if parameter.is_bounded else []:
        if is_exact(value) and name not in ("max_tokens", "logprobs"):
            kind = "float-" if type(value) is float else ""
            yield request_case(f"{name}-{kind}{slug(value)}", {name: value}, 200, None, "boundary")
    null = 200 if parameter.nullable else 422
    yield request_case(f"{name}-null", {name: None}, null, None if null == 200 else name)


def is_exact(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(abs(item) <= HUGE for item in values)


def cases() -> Iterator[Case]:
    yield request_case("minimal", {}, 200, None)
    for field in "model", "prompt":
        body = {k: v for k, v in VALID.items() if k != field}
        yield Case(
            id=f"request/without-{field}",
            input={"body": body},
            expect={"status": 422, "field": field},
            dialects={BAD_REQUEST: {"status": 400, "field": field}},
        )
    prompts: dict[str, Any] = {"number": 5, "null": None, "object": {"a": 1}, "empty-list": []}
    for kind, prompt in prompts.items():
        yield request_case(f"prompt-{kind}", {"prompt": prompt}, 422, "prompt")
    yield request_case("prompt-negative-id", {"prompt": [-1]}, 422, "prompt")
    yield request_case("prompt-mixed-list", {"prompt": ["a", 5]}, 422, "prompt")
    yield request_case("prompts", {"prompt": ["a", "b"]}, 200, None)
    yield request_case("unknown-model", {"model": "another"}, 404, None)
    yield request_case("stop-empty-string", {"stop": ""}, 422, "stop", "boundary")
    yield request_case("stop-17-strings", {"stop": ["x"] * 17}, 422, "stop", "boundary")
    yield request_case("stop-16-strings", {"stop": ["x"] * 16}, 200, None, "boundary")
    unknown = {"response_format": {"type": "xml"}}
    yield request_case("response-format-unknown-type", unknown, 422, "response_format")
    no_pattern = {"response_format": {"type": "regex"}}
    yield request_case("response-format-without-regex", no_pattern, 422, "response_format")
    for name in ("temperature", "top_k", "n", "seed", "max_tokens", "logprobs"):
        yield request_case(f"{name}-boolean", {name: True}, 422, name)
    taken = set[str]()
    for parameter in parameters():
        for case in parameter_cases(parameter) if parameter.name not in LEFT_OUT else ():
            if case.id not in taken:  # a bound may be among the values twice
                yield case
            taken.add(case.id)


FAMILIES = (
    Family(
        name="request",
        function="params.CompletionParams",
        statement="The status of the response to a body, by a server whose only model is `m`, and "
        "the field that the error names.",
        compare={"status": EXACT, "field": EXACT},
        input={"body": OBJECT},
        expect={"status": COUNT, "field": nullable(TEXT)},
        cases=cases,
    ),
)
