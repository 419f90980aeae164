"""The parameters of the endpoint: default, range, meaning, and the function that defines each one.

This table is the only one. The endpoint's validation, its OpenAPI document, the command line and
the README's table are generated from it or tested against it.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

# Of the specification. The first number changes with the meaning of a parameter, the second with an
# addition; CHANGELOG.md lists the changes.
SPEC_VERSION = "1.0"

DEFAULT_MAX_TOKENS = 16384

_COMPARE = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
_SIGN = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def parameter(default: Any, meaning: str, *, spec: str, **bounds: float) -> Any:
    """Declare a dataclass field that carries its documentation.

    spec: the function or class of this package that defines the parameter ("logits.top_p").
    bounds: ge, gt, le, lt (of the value, or of each item) and max_length (of a list).
    """
    metadata = {"meaning": meaning, "spec": spec, "bounds": bounds}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class CompletionParams:
    """The parameters of one request, apart from its model and its prompt.

    Raises ValueError, naming the field, for a value out of range, and for a list parameter that is
    not a tuple.
    """

    max_tokens: int | None = parameter(
        None,
        "maximum number of tokens to generate; null: the rest of the context, "
        f"at most {DEFAULT_MAX_TOKENS}",
        spec="stopping.token_budget",
        gt=0,
        le=1_000_000,
    )
    temperature: float = parameter(
        1.0,
        "divides the logits: lower is more focused, higher more random; 0 is greedy",
        spec="logits.temperature",
        ge=0,
        le=2,
    )
    top_p: float = parameter(
        1.0,
        "nucleus: keep the most likely tokens that reach this mass; 1 is off, 0 keeps the top one",
        spec="logits.top_p",
        ge=0,
        le=1,
    )
    min_p: float = parameter(
        0.0,
        "keep tokens at least this likely relative to the most likely one; 0 is off",
        spec="logits.min_p",
        ge=0,
        le=1,
    )
    top_k: int = parameter(
        0, "keep the k most likely tokens, and ties; 0 is off", spec="logits.top_k", ge=0
    )
    n: int = parameter(1, "number of sequences to return", spec="threefry.draw_key", ge=1, le=4)
    stream: bool = parameter(
        False,
        "send the text as server-sent events while it is generated",
        spec="output_text.StreamedChoice",
    )
    logprobs: int | None = parameter(
        None,
        "report each token's log-probability and those of this many top tokens",
        spec="logprobs.token_logprobs",
        ge=0,
    )
    echo: bool | None = parameter(
        None,
        "return the prompt before the output, with its log-probabilities",
        spec="output_text.echo",
    )
    stop: tuple[str, ...] = parameter(
        (),
        "strings that end the output; the text ends before the match",
        spec="stopping.StopStrings",
        max_length=16,
    )
    stop_token_ids: tuple[int, ...] = parameter(
        (), "token ids that end the output", spec="stopping.finish", ge=0
    )
    presence_penalty: float = parameter(
        0.0,
        "subtracted once from each token that occurs in the output",
        spec="logits.presence_penalty",
        ge=-2,
        le=2,
    )
    frequency_penalty: float = parameter(
        0.0,
        "subtracted from each token of the output, once per occurrence",
        spec="logits.frequency_penalty",
        ge=-2,
        le=2,
    )
    repetition_penalty: float = parameter(
        1.0,
        "divides the logits of tokens in prompt or output (multiplies negative ones); 1 is off",
        spec="logits.repetition_penalty",
        ge=0.01,
        le=5,
    )
    response_format: Mapping[str, Any] | None = parameter(
        None,
        "constrains the text to a JSON object, an instance of a JSON Schema, or a match of a regex",
        spec="grammar.response_format.compile_format",
    )
    user: str | None = parameter(
        None,
        "your identifier of the end user; has no effect on the response",
        spec="request.Request",
    )
    seed: int | None = parameter(
        None,
        "seed of the random numbers, modulo 2⁶⁴; null: a fresh random seed",
        spec="threefry.seed_key",
        ge=-(2**63),
        lt=2**64,
    )
    stream_options: Mapping[str, Any] | None = parameter(
        None,
        "`include_usage` (true), `continuous_usage_stats` (false)",
        spec="output_text.StreamedChoice",
    )
    return_tokens_as_token_ids: bool | None = parameter(
        None, "write tokens in `logprobs` as `token_id:<id>`", spec="output_text.TokenDisplay"
    )
    prompt_cache_key: str | None = parameter(
        None,
        "names the prompt cache that requests with the same key share",
        spec="prefix_cache.root_hash",
    )
    data: Mapping[str, Any] | None = parameter(
        None,
        "images, one for each `<image>` in the prompt; a text-only model refuses them",
        spec="images.placement.expand_placeholders",
    )

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.default == () and not isinstance(value, tuple):
                raise ValueError(f"{f.name}: must be a tuple, got {value!r}")
            check(f.name, value, **f.metadata["bounds"])
        if "" in self.stop:
            raise ValueError("stop: must not contain an empty string")


def check(name: str, value: Any, *, max_length: float | None = None, **bounds: float) -> None:
    """Raise ValueError, naming the parameter, unless the value or each item is in bounds."""
    items = value if isinstance(value, tuple) else () if value is None else (value,)
    if max_length is not None and len(items) > max_length:
        raise ValueError(f"{name}: must have at most {max_length} items, got {len(items)}")
    for item in items:
        for bound, limit in bounds.items():
            if not _COMPARE[bound](item, limit):
                raise ValueError(f"{name}: must be {_SIGN[bound]} {limit}, got {item!r}")
