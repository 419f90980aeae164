"""The body of `/v1/explain`: that of a completion, and what to report about each token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, create_model

from api.errors import unknown_model
from api.schema.parsing import parse_json
from api.schema.request import CompletionRequest, to_integer
from api.schema.unknown_fields import unknown_fields
from api.schema.validation_errors import validate
from api.service import ModelHandle, Service
from explain.limits import MAX_TOKENS, MAX_TOP

FIELDS = ("top", "logits", "forced")


@dataclass(frozen=True)
class Report:
    """The report about each token.

    top: how many of the most likely tokens, before and after the steps. logits: whether to send the
    model's logits and the mask of allowed tokens. forced: the tokens that each choice begins with,
    instead of those of its draw.
    """

    top: int
    logits: bool
    forced: tuple[int, ...]


@dataclass(frozen=True)
class ParsedExplain:
    """A validated body, its model, and what to report. ignored: the paths of unknown fields."""

    handle: ModelHandle
    body: CompletionRequest
    report: Report
    ignored: Sequence[Sequence[str]]


def explain_model(
    base: type[CompletionRequest], vocab_size: int | None = None
) -> type[CompletionRequest]:
    """Return the type of the requests for one model, whose completions have the type `base`."""
    token = Annotated[int, Field(ge=0, lt=vocab_size), BeforeValidator(to_integer)]
    top = Field(
        12,
        ge=1,
        le=MAX_TOP,
        description="how many of the most likely tokens to report, before and after the steps",
    )
    logits = Field(
        False, description="whether to send the model's logits and the mask of allowed tokens"
    )
    forced: Any = Field(
        [],
        max_length=MAX_TOKENS,
        description="token ids that each choice begins with, instead of those of its draw",
        fail_fast=True,
    )
    fields: dict[str, Any] = {
        "top": (Annotated[int, BeforeValidator(to_integer)], top),
        "logits": (bool, logits),
        "forced": (list[token], forced),
    }
    return create_model("ExplainRequest", __base__=base, **fields)


def parse(service: Service, content: bytes) -> ParsedExplain:
    """Parse and validate the content of a body.

    Raises InvalidRequest with every error, and ApiError 404 if the model is not served.
    """
    json = parse_json(content)
    name = json.get("model")
    handle = service.handles.get(name) if isinstance(name, str) else None
    base = handle.request_type if handle else service.generic_request_type
    vocab_size = handle.served_model.vocab_size if handle else None
    ignored = [path for path in unknown_fields(json) if path[0] not in FIELDS]
    request_type = explain_model(base, vocab_size)
    body: Any = validate(request_type, json, forbidden=ignored if service.strict else ())
    if handle is None:
        raise unknown_model(body.model)
    return ParsedExplain(handle, body, Report(body.top, body.logits, tuple(body.forced)), ignored)
