"""The request as JSON: one pydantic field for each parameter, made from `reference.params`.

Coercions are pydantic's lax ones ("2" is 2, "yes" is true), with two exceptions: true is no number,
and of the ids of a prompt the type says what the prompt is. The fields are in the order of the
contract, and so are errors.
"""

import json
from collections.abc import Mapping
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

TABLE = {f.name: f for f in fields(CompletionParams)}


def parameter(name: str, **more: Any) -> Any:
    """The field of one parameter: default, bounds and description are the table's."""
    if TABLE[name].default == ():
        return Field(None, description=TABLE[name].metadata["meaning"], **more)
    f = TABLE[name]
    return Field(f.default, description=f.metadata["meaning"], **f.metadata["bounds"] | more)


def bounds(name: str, **more: Any) -> Any:
    """The bounds of a list or of its items."""
    return Field(**TABLE[name].metadata["bounds"] | more)


def encodable(text: str) -> str:
    """A JSON string may hold half a surrogate pair, which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticKnownError("string_unicode") from None
    return text


def plain_json(value: dict[str, Any]) -> dict[str, Any]:
    """An object that can be written as JSON again: no surrogates, and no 1e999."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise PydanticKnownError("finite_number") from None
    encodable(text)
    return value


def no_flag(value: Any, kind: Literal["int_type", "float_type"] = "int_type") -> Any:
    """To pydantic true is 1, as it is to Python."""
    if isinstance(value, bool):
        raise PydanticKnownError(kind)
    return value


# The parameters that are one number, and what pydantic calls the error of no number.
NUMBERS: dict[str, Literal["int_type", "float_type"]] = {
    name: "float_type" if isinstance(f.default, float) else "int_type"
    for name, f in TABLE.items()
    if f.default != () and f.metadata["bounds"]
}

Text = Annotated[str, AfterValidator(encodable)]


class JsonSchema(BaseModel):
    """`response_format.json_schema`."""

    model_config = ConfigDict(extra="allow")

    name: Text | None = None
    schema_: Annotated[dict[str, Any], AfterValidator(plain_json)] = Field(alias="schema")


class TextFormat(BaseModel):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(BaseModel):
    """A JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormat(BaseModel):
    """An instance of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class RegexFormat(BaseModel):
    """A match of the whole text."""

    type: Literal["regex"]
    regex: Text


FORMATS = (TextFormat, JsonObjectFormat, JsonSchemaFormat, RegexFormat)
Format = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | RegexFormat, Field(discriminator="type")
]


class StreamOptions(BaseModel):
    """What a stream says beside the text."""

    include_usage: bool = Field(True, description="usage on the event that ends the last choice")
    continuous_usage_stats: bool = Field(False, description="running usage on every event")


class Data(BaseModel):
    """Images, as `data:` URIs."""

    image: list[Text] = Field([], fail_fast=True)


def stop_kind(value: Any) -> str | None:
    """One stop string or several."""
    return "one" if isinstance(value, str) else "many" if isinstance(value, list) else None


NonEmpty = Annotated[str, Field(min_length=1), AfterValidator(encodable)]
Stop = Annotated[
    Annotated[NonEmpty, Tag("one")] | Annotated[list[NonEmpty], bounds("stop"), Tag("many")],
    Discriminator(
        stop_kind,
        custom_error_type="stop_type",
        custom_error_message="Input should be a string, a list of strings, or null",
    ),
]


def prompt_kind(value: Any) -> str | None:
    """What a prompt is, by its first item: no error is reported once for each possibility."""
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
    """One prompt or several, as text or as token ids below `vocab_size`.

    The first wrong id of a list is reported, not all: there may be millions.
    """
    token = Annotated[int, Strict(), Field(ge=0, lt=vocab_size)]
    ids = Annotated[list[token], Field(min_length=1, fail_fast=True)]
    several = Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True)
    return Annotated[
        Annotated[Text, Tag("text")]
        | Annotated[ids, Tag("ids")]
        | Annotated[list[Text], several, Tag("texts")]
        | Annotated[list[ids], several, Tag("lists")],
        Discriminator(
            prompt_kind,
            custom_error_type="prompt_type",
            custom_error_message="Input should be a string, a list of token ids, "
            "a list of strings or a list of lists of token ids",
        ),
    ]


class CompletionRequest(BaseModel):
    """The body of a request. `request_model` adds the bounds that a server and a model set."""

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
    def numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """For all of them here: the schema stays that of a number."""
        return no_flag(value, NUMBERS[str(info.field_name)])

    def prompts(self) -> list[str | list[int]]:
        """Each prompt, as text or as ids."""
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)

    def params(self) -> CompletionParams:
        """What the engine and the text need to know of it."""
        return CompletionParams(
            **{name: frozen(getattr(self, name)) for name in TABLE} | self.stops()
        )

    def stops(self) -> dict[str, tuple[Any, ...]]:
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return {"stop": tuple(stop or ()), "stop_token_ids": tuple(self.stop_token_ids or ())}


def frozen(value: Any) -> Any:
    """A mapping for an object: what was sent of it, under the names it was sent by."""
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_unset=True)
    return value


def request_model(max_logprobs: int, vocab_size: int | None = None) -> type[CompletionRequest]:
    """The request as one server reads it for one model. vocab_size: None if no model is meant."""
    token = Annotated[int, bounds("stop_token_ids", lt=vocab_size), BeforeValidator(no_flag)]
    stop_ids = list[token] | None
    prompt = Field(description=CompletionRequest.model_fields["prompt"].description)
    return create_model(
        "CompletionRequest",
        __base__=CompletionRequest,
        prompt=(prompt_type(vocab_size), prompt),
        logprobs=(int | None, parameter("logprobs", le=max_logprobs)),
        stop_token_ids=(stop_ids, parameter("stop_token_ids", fail_fast=True)),
    )


def names(*models: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for model in models for name in model.model_fields)


# The fields of each object whose unknown fields are named; "" is the body.
KNOWN: Mapping[str, frozenset[str]] = {
    "": names(CompletionRequest),
    "response_format": names(*FORMATS),
    "stream_options": names(StreamOptions),
    "data": names(Data),
}
