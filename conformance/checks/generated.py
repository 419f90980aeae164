"""The checks of every parameter that follow from `reference.params`: type, range, default, null.

Only the ways to make a change visible are specific to a parameter. A requirement that says more
than the table does is checked in the file of its parameter.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from conformance.assertions.basic import (
    assert_accepted,
    assert_rejected,
    assert_same_completion,
    assert_status,
)
from conformance.assertions.next_token import assert_default, assert_default_penalty
from conformance.fixtures.parameters import WRONG_VALUES, Parameter, parameters
from conformance.harness.capabilities import LOGPROBS
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server, assert_success
from conformance.http.response import Completion
from conformance.verdicts import Evidence, Level

STRINGS = ("", "a", "ü 漢 😀\n", "long " * 200)
POWERS = {-(2**63): "−2⁶³", 2**64 - 1: "2⁶⁴ − 1"}
# Parameters whose default is compared by seeded draws, with the temperature of the draws. The
# defaults of all others are compared by greedy texts.
SAMPLED: Mapping[str, Any] = {"temperature": ..., "top_p": 2, "min_p": 2, "top_k": 2}
VISIBLE_WITH: Mapping[str, dict[str, Any]] = {"return_tokens_as_token_ids": {"logprobs": 2}}
# A text that may fill the context takes minutes. max_tokens/clamped-to-context and
# max_tokens/null-fills-context leave little room and check the maximum and null.
EXPENSIVE = ("max_tokens",)


def reject_values(server: Server, name: str, values: Sequence[Any]) -> None:
    """Require that each value is a 422 that names the field."""
    assert_rejected(server, name, values)


def accept_values(server: Server, name: str, values: Sequence[Any]) -> None:
    """Require that each value is a 200. Raises Unsupported if none is."""
    assert_accepted(server, name, values)


def compare_with_default(server: Server, parameter: Parameter) -> None:
    """Compare the answers with the default sent and without the field."""
    if parameter.name in SAMPLED:
        assert_default(server, parameter.name, parameter.default, SAMPLED[parameter.name])
    else:
        assert_default_penalty(server, parameter.name, parameter.default)


def compare_with_omitted(server: Server, parameter: Parameter, value: Any) -> None:
    """Compare the answers with a value and without the field. Raises Unsupported if an ordinary
    value is refused, too.
    """
    name, fields = parameter.name, VISIBLE_WITH.get(parameter.name, {})
    if (reply := server.post(**fields, **{name: value})).status != 200:
        assert_success(server.post(**fields, **{name: parameter.ordinary}))
        assert_status(reply, 200)
    omitted, sent = (server.complete(**fields, **{name: v}) for v in (..., value))
    assert_same_completion(omitted, sent, f"with {name} {value!r} the answer without {name}")


def compare_with_float(server: Server, parameter: Parameter) -> None:
    """Compare the answers with an integer and with the same number written as a float. Raises
    Unsupported if the integer is refused, too.
    """
    name, value = parameter.name, parameter.ordinary
    number = [float(item) for item in value] if parameter.is_list else float(value)
    expected = server.complete(**{name: value})
    reply = server.post(**{name: number})
    assert_status(reply, 200)
    what = f"the answer with {name} {value!r}"
    assert_same_completion(expected, Completion(reply.json, reply.at), what)


def format_value(value: Any) -> str:
    """Format a value for a clause."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        value = int(value) if value.is_integer() else value
    return "an empty list" if value == [] else POWERS.get(value, f"{value:,}".replace("-", "−"))


def range_clause(parameter: Parameter) -> str:
    """Format the requirement of values out of range."""
    sides = ("below", parameter.minimum), ("above", parameter.maximum)
    bounds = " or ".join(f"{side} {format_value(v)}" for side, v in sides if v is not None)
    subject = "A list with a value" if parameter.is_list else "A value"
    return f"{subject} {bounds} is a 422 that names the field."


def endpoints_clause(parameter: Parameter) -> str:
    """Format the requirement of the bounds themselves."""
    limits = [format_value(v) for v in (parameter.minimum, parameter.maximum) if v is not None]
    verb = "is" if len(limits) == 1 else "are"
    return f"{' and '.join(limits)} {verb} accepted: the bounds are within the range."


GeneratedCheck = tuple[str, str, Callable[[Server], None]]  # name, clause, function


def exact_checks(parameter: Parameter) -> Iterator[GeneratedCheck]:
    """Yield the checks that need the status of a response only."""
    name = parameter.name
    clause = f"A value that is {WRONG_VALUES[parameter.type][0]} is a 422 that names the field."
    yield "type", clause, partial(reject_values, name=name, values=parameter.wrong_values)
    if parameter.is_bounded:
        outside = partial(reject_values, name=name, values=parameter.outside())
        yield "range", range_clause(parameter), outside
    if parameter.is_bounded and name not in EXPENSIVE:
        endpoints = partial(accept_values, name=name, values=parameter.endpoints())
        yield "range-endpoints", endpoints_clause(parameter), endpoints
    if parameter.type is str:
        clause = "Any string is accepted: an empty one, a long one, and one in any script."
        yield "any-string", clause, partial(accept_values, name=name, values=STRINGS)


def comparisons(parameter: Parameter) -> Iterator[GeneratedCheck]:
    """Yield the checks that compare a value with another spelling or with no field."""
    default, off = parameter.default, parameter.off_value
    if default not in (None, ()):
        clause = f"Without the field the answer is the same as with {format_value(default)}."
        yield "default", clause, partial(compare_with_default, parameter=parameter)
    if parameter.type in (int, tuple[int, ...]):
        clause = "An integer may be written with a fraction of zero, as in JSON Schema: 1.0 is 1."
        yield "integral-float", clause, partial(compare_with_float, parameter=parameter)
    if parameter.nullable and parameter.name not in EXPENSIVE:
        clause = "With null the answer is the same as without the field."
        yield "null", clause, partial(compare_with_omitted, parameter=parameter, value=None)
    if off is not None:
        clause = f"With {format_value(off)} the answer is the same as without the field."
        yield "off-value", clause, partial(compare_with_omitted, parameter=parameter, value=off)


def generate(parameter: Parameter) -> None:
    """Register the checks of one parameter."""
    group = CheckGroup(parameter.name)
    for name, clause, function in exact_checks(parameter):
        group.protocol(Level.MUST, Evidence.EXACT, name=name, clause=clause)(function)
    needs = (LOGPROBS,) if parameter.name in VISIBLE_WITH else ()
    for name, clause, function in comparisons(parameter):
        register = group.consistency
        register(Level.MUST, Evidence.METAMORPHIC, *needs, name=name, clause=clause)(function)


for _parameter in parameters():
    generate(_parameter)
