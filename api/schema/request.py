"""The request body as a pydantic model: one field per parameter, made from `reference.params`.

Coercions are pydantic's lax ones ("2" is 2, "yes" is true), with two exceptions: a boolean is not
accepted as a number, and token ids in a prompt must be integers. As in JSON Schema, 2.0 and 2e0 are
integers. The fields, and so the errors, are in the order of the table.
"""

import json
import math
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic_core import PydanticKnownError

from reference.params import CompletionParams

MAX_PROMPTS = 256
MAX_EXACT = 2**53  # a float is exact for every integer up to here

TABLE = {f.name: f for f in fields(CompletionParams)}


def parameter(name: str, **more: Any) -> Any:
    """Return the field of one parameter, with the default, bounds and description of the table."""
    f = TABLE[name]
    if f.default == ():  # a list, whose bounds are in its type
        return Field(None, description=f.metadata["meaning"], **more)
    return Field(f.default, description=f.metadata["meaning"], **f.metadata["bounds"] | more)


def bounds(name: str, **more: Any) -> Any:
    """Return the bounds of a list or of its items."""
    return Field(**TABLE[name].metadata["bounds"] | more)


def check_encodable(text: str) -> str:
    """Raise a validation error for a lone surrogate, which JSON allows and UTF-8 does not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticKnownError("string_unicode") from None
    return text


def check_serializable(value: dict[str, Any]) -> dict[str, Any]:
    """Raise a validation error for an object with a lone surrogate or an infinity (1e999)."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise PydanticKnownError("finite_number") from None
    check_encodable(text)
    return value


def reject_bool(value: Any, kind: Literal["int_type", "float_type"] = "int_type") -> Any:
    """Raise a validation error for a boolean, which pydantic would coerce to 0 or 1."""
    if isinstance(value, bool):
        raise PydanticKnownError(kind)
    return value


def exact_integer(value: Any) -> Any:
    """Convert a float without a fraction to an int; return other values unchanged.

    The parser reads integers from MAX_EXACT on as int: a float of this size had a fraction.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < MAX_EXACT:
        return int(value)
    return value


def to_integer(value: Any) -> Any:
    """Convert a float without a fraction to an int. Raises a validation error for a boolean and
    for any other float, of which pydantic would accept some that were rounded.
    """
    result = exact_integer(reject_bool(value))
    if isinstance(result, float) and math.isfinite(result):
        raise PydanticKnownError("int_from_float")
    return result


def to_integers(values: Any) -> Any:
    """Convert the floats of a list. A list without floats, which may have millions of items, is
    returned as it is.
    """
    if not isinstance(values, list) or float not in set(map(type, values)):
        return values
    return [exact_integer(value) for value in values]


# The numeric parameters, and pydantic's type of the error for a value that is not a number.
NUMBERS: dict[str, Literal["int_type", "float_type"]] = {
    name: "float_type" if isinstance(f.default, float) else "int_type"
    for name, f in TABLE.items()
    if f.default != () and f.metadata["bounds"]
}

Text = Annotated[str, AfterValidator(check_encodable)]


class JsonSchema(BaseModel):
    """`response_format.json_schema`."""

    model_config = ConfigDict(extra="allow")

    name: Text | None = None
    schema_: Annotated[dict[str, Any], AfterValidator(check_serializable)] = Field(alias="schema")


class TextFormat(BaseModel):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(BaseModel):
    """A JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormat(BaseModel):
    """A JSON value that is valid under a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class RegexFormat(BaseModel):
    """A text that the regular expression matches as a whole."""

    type: Literal["regex"]
    regex: Text


FORMATS = (TextFormat, JsonObjectFormat, JsonSchemaFormat, RegexFormat)
Format = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | RegexFormat, Field(discriminator="type")
]


class StreamOptions(BaseModel):
    """Options of a streamed response."""

    include_usage: bool = Field(True, description="usage on the last event")
    continuous_usage_stats: bool = Field(False, description="running usage on every event")


class Data(BaseModel):
    """Images, as `data:` URIs."""

    image: list[Text] = Field([], fail_fast=True)


def stop_kind(value: Any) -> str | None:
    """Return the branch of the union `Stop`."""
    return "string" if isinstance(value, str) else "list" if isinstance(value, list) else None


NonEmptyText = Annotated[str, Field(min_length=1), AfterValidator(check_encodable)]
Stop = Annotated[
    Annotated[NonEmptyText, Tag("string")]
    | Annotated[list[NonEmptyText], bounds("stop"), Tag("list")],
    Discriminator(
        stop_kind,
        custom_error_type="stop_type",
        custom_error_message="Input should be a string, a list of strings, or null",
    ),
]


def prompt_kind(value: Any) -> str | None:
    """Return the branch of the union of `prompt_type`, by the first item.

    A plain union would report the errors of every branch.
    """
    if not isinstance(value, list):
        return "text" if isinstance(value, str) else None
    match value[:1]:
        case [str()]:
            return "texts"
        case [list()]:
            return "lists"
        case _:
            return "ids"


def prompt_type(vocab_size: int | None) -> Any:
    """Return the type of one prompt or several, as text or as token ids below `vocab_size`.

    Only the first wrong id of a list is reported: there may be millions.
    """
    token = Annotated[int, Strict(), Field(ge=0, lt=vocab_size)]
    ids = Annotated[list[token], Field(min_length=1, fail_fast=True), BeforeValidator(to_integers)]
    list_bounds = Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)
    return Annotated[
        Annotated[Text, Tag("text")]
        | Annotated[ids, Tag("ids")]
        | Annotated[list[Text], list_bounds, Tag("texts")]
        | Annotated[list[ids], list_bounds, Tag("lists")],
        Discriminator(
            prompt_kind,
            custom_error_type="prompt_type",
            custom_error_message="Input should be a string, a list of token ids, "
            "a list of strings or a list of lists of token ids",
        ),
    ]


class CompletionRequest(BaseModel):
    """The body of a request. `request_model` adds the bounds of the server and the model."""

    model_config = ConfigDict(allow_inf_nan=False, title="CompletionRequest")

    model: Text = Field(description="the name of a served model")
    prompt: str | list[int] | list[str] | list[list[int]] = Field(
        description="one prompt, as text or as token ids, or a list of prompts"
    )
    max_tokens: int | None = parameter("max_tokens")
    temperature: float = parameter("temperature")
    top_p: float = parameter("top_p")
    min_p: float = parameter("min_p")
    top_k: int = parameter("top_k")
    n: int = parameter("n")
    stream: bool = parameter("stream")
    logprobs: int | None = parameter("logprobs")
    echo: bool | None = parameter("echo")
    stop: Stop | None = parameter("stop")
    stop_token_ids: list[int] | None = parameter("stop_token_ids")
    presence_penalty: float = parameter("presence_penalty")
    frequency_penalty: float = parameter("frequency_penalty")
    repetition_penalty: float = parameter("repetition_penalty")
    response_format: Format | None = parameter("response_format")
    user: Text | None = parameter("user")
    seed: int | None = parameter("seed")
    stream_options: StreamOptions | None = parameter("stream_options")
    return_tokens_as_token_ids: bool | None = parameter("return_tokens_as_token_ids")
    prompt_cache_key: Text | None = parameter("prompt_cache_key")
    data: Data | None = parameter("data")

    @field_validator(*NUMBERS, mode="before")
    @classmethod
    def to_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Convert here, not in the types, to keep the JSON schema of a number."""
        kind = NUMBERS[str(info.field_name)]
        return to_integer(value) if kind == "int_type" else reject_bool(value, kind)

    def prompts(self) -> list[str | list[int]]:
        """Return each prompt, as text or as token ids."""
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)

    def params(self) -> CompletionParams:
        """Return the parameters of the engine and of the output text."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        values = {name: to_plain(getattr(self, name)) for name in TABLE}
        values["stop"] = tuple(stop or ())
        values["stop_token_ids"] = tuple(self.stop_token_ids or ())
        return CompletionParams(**values)


def to_plain(value: Any) -> Any:
    """Convert an object to a dict of its fields that were sent; return other values unchanged."""
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_unset=True)
    return value


def request_model(max_logprobs: int, vocab_size: int | None = None) -> type[CompletionRequest]:
    """Return the type of the requests for one model. vocab_size: None if the model is unknown."""
    token = Annotated[int, bounds("stop_token_ids", lt=vocab_size), BeforeValidator(to_integer)]
    stop_ids = list[token] | None
    prompt = Field(description=CompletionRequest.model_fields["prompt"].description)
    return create_model(
        "CompletionRequest",
        __base__=CompletionRequest,
        prompt=(prompt_type(vocab_size), prompt),
        logprobs=(int | None, parameter("logprobs", le=max_logprobs)),
        stop_token_ids=(stop_ids, parameter("stop_token_ids", fail_fast=True)),
    )
