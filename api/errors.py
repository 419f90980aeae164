"""Everything that can go wrong, as a status and a body.

Two shapes: `{"detail": …}` for what is wrong with the request as such (401, 404, 405, 422), and
`{"error": {message, type, param, code}}` for what this server or this model does not do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ExceptionHandler

from api.engine import EngineDown
from reference.grammar.response_format import UnsupportedFormat
from reference.images.decoding import ImageError
from reference.images.placement import ImageCountMismatch, ImagesUnsupported, TooManyImages
from reference.prompt import EmptyPrompt, UnknownToken
from reference.stopping import ContextLengthExceeded

# What a model cannot do: known before it is asked.
REFUSALS = (
    ContextLengthExceeded,
    EmptyPrompt,
    ImageCountMismatch,
    ImageError,
    ImagesUnsupported,
    TooManyImages,
    UnknownToken,
    UnsupportedFormat,
)

RETRY_AFTER = {"Retry-After": "1"}


@dataclass(eq=False)
class ApiError(Exception):
    """An `{"error": …}`. code: for programs; message: for people; param: the field at fault."""

    status: int
    code: str
    message: str
    param: str | None = None
    type: str = "invalid_request_error"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        keys = ("message", "type", "param", "code")
        return {"error": {key: getattr(self, key) for key in keys}}


@dataclass(eq=False)
class Invalid(Exception):
    """A 422: every error of the body, each `{type, loc, msg, input?, ctx?}`."""

    detail: list[dict[str, Any]]


def unknown_model(name: str) -> ApiError:
    return ApiError(404, "model_not_found", f"The model {name[:100]!r} is not served here", "model")


def too_large(limit: int) -> ApiError:
    return ApiError(413, "body_too_large", f"The body has more than {limit} bytes")


def rate_limited() -> ApiError:
    return ApiError(429, "rate_limited", "Rate limited", None, "rate_limit_error", RETRY_AFTER)


def draining() -> ApiError:
    return unavailable("draining", "The server is shutting down")


def engine_down() -> ApiError:
    return unavailable("engine_down", "The engine of this model is down")


def unavailable(code: str, message: str) -> ApiError:
    return ApiError(503, code, message, None, "service_unavailable", RETRY_AFTER)


def internal() -> ApiError:
    return ApiError(500, "internal_error", "Internal server error", None, "server_error")


def of_engine(error: Exception) -> ApiError:
    """What a client is told of an engine's error; its text stays in the server's log."""
    match error:
        case ApiError():
            return error
        case ContextLengthExceeded():
            return ApiError(400, "context_length_exceeded", str(error), "prompt")
        case EmptyPrompt():
            return ApiError(400, "empty_prompt", str(error), "prompt")
        case UnknownToken():
            return ApiError(400, "unknown_token", str(error), "prompt")
        case UnsupportedFormat():
            message = str(error)[:500]
            return ApiError(400, "unsupported_response_format", message, "response_format")
        case ImagesUnsupported():
            return ApiError(400, "text_only_model", str(error), "data")
        case ImageCountMismatch():
            return ApiError(400, "image_count_mismatch", str(error), "data")
        case TooManyImages():
            return ApiError(400, "too_many_images", str(error), "data")
        case ImageError():
            return ApiError(400, "invalid_image", str(error), "data")
        case EngineDown():
            return engine_down()
        case _:
            return internal()


def on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


def on_engine_down(request: Request, error: Exception) -> Response:
    return on_api_error(request, engine_down())


def on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, Invalid)
    return JSONResponse({"detail": error.detail}, 422)


def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def on_any_other(request: Request, error: Exception) -> Response:
    return on_api_error(request, internal())


HANDLERS: dict[Any, ExceptionHandler] = {
    ApiError: on_api_error,
    EngineDown: on_engine_down,
    Invalid: on_invalid,
    HTTPException: on_http_exception,
    Exception: on_any_other,
}
