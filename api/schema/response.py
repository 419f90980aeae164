"""What is sent back, as pydantic models: the bodies, and the OpenAPI document's schemas."""

from typing import Any, Literal

from pydantic import BaseModel, Field

ABSENT: Any = None  # a field that is left out: never sent as null


def without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class Logprobs(BaseModel):
    """One entry for each token. The first token of an echoed prompt has null for numbers."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Choice(BaseModel):
    """One sequence. finish_reason and stop_reason are null until its last event."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"] | None
    stop_reason: str | int | None = Field(
        description="the stop string or the id among stop_token_ids that ended it"
    )


class PromptTokensDetails(BaseModel):
    """cached_tokens: how many of the prompt's tokens an earlier request had left in the cache."""

    cached_tokens: int


class Usage(BaseModel):
    """Each prompt counts once, whatever `n` is."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class Completion(BaseModel):
    """A whole response."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage


class Chunk(Completion):
    """One event of a stream: it has exactly one choice. usage: on the event that ends the last
    choice, or on every one (`stream_options`).
    """

    usage: Usage = Field(ABSENT, json_schema_extra=without_default)


class Model(BaseModel):
    """A served model. max_model_len: the most tokens that prompt and output have together."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "local"
    max_model_len: int


class ModelList(BaseModel):
    """Everything that is served."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """models: by name, whether their engine answers."""

    status: Literal["ok", "draining", "down"]
    models: dict[str, Literal["ok", "down"]]


class Problem(BaseModel):
    """code: for programs. message: for people. param: the field at fault."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """What this server or this model does not do."""

    error: Problem


class DetailBody(BaseModel):
    """Not authenticated, no such path, no such method."""

    detail: str


class FieldError(BaseModel):
    """One thing that is wrong with a body. loc: the path to it, from "body"."""

    type: str
    loc: list[str | int]
    msg: str
    input: Any = None
    ctx: dict[str, Any] = {}


class InvalidBody(BaseModel):
    """Everything that is wrong with a body, in the order of its fields."""

    detail: list[FieldError]
