"""Mutants of the generated checks: for each parameter the usual faults in parsing its value."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from starlette.types import ASGIApp

from conformance.checks.generated import EXPENSIVE, format_value
from conformance.fixtures.parameters import Parameter, parameters
from reference.bundle import Bundle
from tests.conformance.mutants import Maker, mutant
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import (
    change_default,
    clamp_field,
    drop_field_unless,
    is_number,
    mutate_body,
    replace_field,
)

# Defaults that other servers have.
OTHER_DEFAULTS: Mapping[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.95,
    "min_p": 0.05,
    "top_k": 40,
    "n": 2,
    "stream": True,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "repetition_penalty": 1.1,
}
MAX_STRING = 64
IS_OF_TYPE: Mapping[Any, Callable[[Any], bool]] = {
    float: is_number,
    int: lambda v: type(v) is int,
    bool: lambda v: isinstance(v, bool),
    str: lambda v: isinstance(v, str),
    tuple[str, ...]: lambda v: isinstance(v, str) or is_list_of(str, v),
    tuple[int, ...]: lambda v: is_list_of(int, v),
    Mapping[str, Any]: lambda v: isinstance(v, dict),
}


def is_list_of(kind: type, value: Any) -> bool:
    """Return whether a value is a list whose items are all of exactly this type."""
    return isinstance(value, list) and all(type(item) is kind for item in value)


def drop_wrong_types(parameter: Parameter, model: Bundle) -> ASGIApp:
    """Drop a value of another type."""
    is_valid = IS_OF_TYPE[parameter.type]
    return drop_field_unless(
        conforming_app(model), parameter.name, lambda v: v is None or is_valid(v)
    )


def drop_out_of_range(parameter: Parameter, model: Bundle) -> ASGIApp:
    """Drop a number that is out of range, or a list that has one."""

    def is_valid(value: Any) -> bool:
        items = value if parameter.is_list else [value]
        return all(parameter.includes(item) for item in items if is_number(item))

    return drop_field_unless(
        conforming_app(model), parameter.name, lambda v: v is None or is_valid(v)
    )


def clamp(parameter: Parameter, model: Bundle) -> ASGIApp:
    """Move a number that is out of range to the nearest bound."""
    low = -math.inf if parameter.minimum is None else parameter.minimum
    high = math.inf if parameter.maximum is None else parameter.maximum
    return clamp_field(conforming_app(model), parameter.name, low, high)


def change(parameter: Parameter, becomes: Callable[[Any], Any], model: Bundle) -> ASGIApp:
    """Change a value that is sent and is not null."""
    return replace_field(
        conforming_app(model), parameter.name, lambda v: None if v is None else becomes(v)
    )


def refuse(parameter: Parameter, value: Any, model: Bundle) -> ASGIApp:
    """Refuse one value of a parameter, but not its absence."""

    def refused(body: Json) -> Json:
        sent = parameter.name in body and body[parameter.name] == value
        return body | ({parameter.name: parameter.wrong_values[0]} if sent else {})

    return mutate_body(conforming_app(model), refused)


def null_as_true(parameter: Parameter, model: Bundle) -> ASGIApp:
    """Treat null as true."""
    name = parameter.name
    return mutate_body(
        conforming_app(model),
        lambda body: body | ({name: body[name] is not False} if name in body else {}),
    )


def on_by_default(parameter: Parameter, model: Bundle) -> ASGIApp:
    """Treat null and the absence of the field as true."""
    name = parameter.name
    return mutate_body(
        conforming_app(model), lambda body: body | {name: body.get(name) is not False}
    )


def add_default(parameter: Parameter, model: Bundle) -> ASGIApp:
    """Use another default."""
    return change_default(conforming_app(model), parameter.name, OTHER_DEFAULTS[parameter.name])


def refuse_long(value: Any) -> Any:
    """Return a value of the wrong type for a string that is too long."""
    return MAX_STRING if isinstance(value, str) and len(value) > MAX_STRING else value


def refuse_floats(parameter: Parameter, value: Any) -> Any:
    """Return a value of the wrong type for a float, or for a list with one."""
    items = value if isinstance(value, list) else [value]
    return parameter.wrong_values[0] if any(isinstance(i, float) for i in items) else value


Fault = tuple[str, str, str, Maker]  # name, name of the check that must fail it, fault, maker


def type_faults(parameter: Parameter) -> Iterator[Fault]:
    """Yield the faults in parsing a value of the wrong type."""
    changed = partial(partial, change, parameter)
    dropped = partial(drop_wrong_types, parameter)
    yield "wrong-type-dropped", "type", "Drop a value of another type.", dropped
    if parameter.type is int:
        cut = changed(lambda v: int(v) if isinstance(v, float) else v)
        yield "fraction-truncated", "type", "Truncate a fraction.", cut
    if parameter.type in (int, tuple[int, ...]):
        refused = changed(partial(refuse_floats, parameter))
        yield "float-refused", "integral-float", "Refuse every float.", refused
    if parameter.type is bool:
        yield "truthiness", "type", "Treat any value that is not empty as true.", changed(bool)
    if parameter.type is str:
        yield "wrong-type-stringified", "type", "Convert any value to a string.", changed(str)
        fault = f"Refuse a string of more than {MAX_STRING} characters."
        yield "long-string-refused", "any-string", fault, changed(refuse_long)


def range_faults(parameter: Parameter) -> Iterator[Fault]:
    """Yield the faults in comparing a value with its bounds."""
    fault = "Drop a value out of range."
    yield "out-of-range-dropped", "range", fault, partial(drop_out_of_range, parameter)
    if not parameter.is_list:
        fault = "Move a value out of range to the nearest bound."
        yield "clamped", "range", fault, partial(clamp, parameter)
    bounds = {"minimum": parameter.minimum, "maximum": parameter.maximum}
    for key, bound in bounds.items():
        if bound is not None and parameter.name not in EXPENSIVE:
            refused = partial(refuse, parameter, [bound] if parameter.is_list else bound)
            yield f"{key}-refused", "range-endpoints", f"Refuse the {key}.", refused


def default_faults(parameter: Parameter) -> Iterator[Fault]:
    """Yield the faults in parsing null, an off value, or no value."""
    off = parameter.off_value
    if parameter.default not in (None, ()):
        fault = f"Use {format_value(OTHER_DEFAULTS[parameter.name])} as the default."
        yield "other-default", "default", fault, partial(add_default, parameter)
    if parameter.nullable and parameter.name not in EXPENSIVE:
        yield "null-refused", "null", "Refuse null.", partial(refuse, parameter, None)
    if off is not None:
        fault = f"Refuse {format_value(off)}."
        yield "off-value-refused", "off-value", fault, partial(refuse, parameter, off)
    if off is False:
        yield "null-is-true", "null", "Treat null as true.", partial(null_as_true, parameter)
        fault = "Treat null and the absence of the field as true."
        yield "on-by-default", "off-value", fault, partial(on_by_default, parameter)


def generate(parameter: Parameter) -> None:
    """Register the mutants of one parameter."""
    faults = [*type_faults(parameter), *default_faults(parameter)]
    faults += range_faults(parameter) if parameter.is_bounded else []
    for key, check, fault, make in faults:
        name = f"{parameter.name}/{key}"
        mutant(f"{parameter.name}/{check}", name=name, fault=fault)(make)


for _parameter in parameters():
    generate(_parameter)
