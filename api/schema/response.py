"""The response bodies as pydantic models, which are also the schemas of the OpenAPI document."""

from typing import Any, Literal

from pydantic import BaseModel, Field

ABSENT: Any = None  # the default of a field that is left out, and never sent as null


def without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class Logprobs(BaseModel):
    """One entry per token. The numbers of the first token of an echoed prompt are null."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Choice(BaseModel):
    """One generated sequence. finish_reason and stop_reason are null until its last event."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"] | None
    stop_reason: str | int | None = Field(
        description="the stop string or the id of stop_token_ids that ended the choice"
    )


class PromptTokensDetails(BaseModel):
    """cached_tokens: number of prompt tokens whose KV cache was reused from earlier requests, a
    multiple of the backend's block size.
    """

    cached_tokens: int


class Usage(BaseModel):
    """Token counts of a request. Each prompt counts once, whatever `n` is."""

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
    """One event of a stream, with exactly one choice. usage: on the last event, or on every event
    (`stream_options`).
    """

    usage: Usage = Field(ABSENT, json_schema_extra=without_default)


class Model(BaseModel):
    """A served model. max_model_len: maximum number of tokens of prompt and output together."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "local"
    max_model_len: int


class ModelList(BaseModel):
    """The served models."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """The health of the server, and of the engine of each model by name."""

    status: Literal["ok", "draining", "down"]
    models: dict[str, Literal["ok", "down"]]


class Version(BaseModel):
    """The version of the server."""

    version: str


class Live(BaseModel):
    """The state of the process: it must be restarted if it is not ok."""

    status: Literal["ok", "down", "hung"]


class Problem(BaseModel):
    """An error. code: for programs. message: for people. param: the wrong field."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """An error of a valid request, which this server or this model cannot serve."""

    error: Problem


class DetailBody(BaseModel):
    """An authentication error, an unknown path, or a method that is not allowed."""

    detail: str


class FieldError(BaseModel):
    """One error of a body. loc: the path of the value, from "body"."""

    type: str
    loc: list[str | int]
    msg: str
    input: Any = None
    ctx: dict[str, Any] = {}


class InvalidBody(BaseModel):
    """Every error of a body, in the order of the fields."""

    detail: list[FieldError]
