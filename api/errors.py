"""Every error as a status and a body.

There are two shapes: `{"detail": …}` for an invalid request (401, 404, 405, 422), and
`{"error": {message, type, param, code}}` for what this server or model cannot do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ExceptionHandler

from api.observability.record import record_of
from api.stream import EngineDown
from reference.grammar.response_format import UnsupportedFormat
from reference.images.limits import ImageError
from reference.images.placement import ImageCountMismatch, ImagesUnsupported, TooManyImages
from reference.prompt import EmptyPrompt, UnknownToken
from reference.stopping import ContextLengthExceeded

# The errors of a valid request that this model cannot serve, with their code and field. All are
# raised before the request is submitted, and become a 400.
BAD_REQUESTS: dict[type[Exception], tuple[str, str]] = {
    ContextLengthExceeded: ("context_length_exceeded", "prompt"),
    EmptyPrompt: ("empty_prompt", "prompt"),
    UnknownToken: ("unknown_token", "prompt"),
    UnsupportedFormat: ("unsupported_response_format", "response_format"),
    ImagesUnsupported: ("text_only_model", "data"),
    ImageCountMismatch: ("image_count_mismatch", "data"),
    TooManyImages: ("too_many_images", "data"),
    ImageError: ("invalid_image", "data"),
}
MAX_MESSAGE = 500  # characters
RETRY_AFTER = {"Retry-After": "1"}


@dataclass(eq=False)
class ApiError(Exception):
    """An `{"error": …}` body. code: for programs. message: for people. param: the wrong field."""

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
class InvalidRequest(Exception):
    """A 422 with every error of the body, each `{type, loc, msg, input?, ctx?}`."""

    detail: list[dict[str, Any]]


def unknown_model(name: str) -> ApiError:
    return ApiError(404, "model_not_found", f"The model {name[:100]!r} is not served here", "model")


def forbidden_host(host: str) -> ApiError:
    message = (
        f"Host: {host[:100]!r} is not a name of this machine, and this server requires no key. Use "
        "localhost or 127.0.0.1, or start the server with --api-key or --allow-open"
    )
    return ApiError(403, "forbidden_host", message)


def forbidden_origin(origin: str) -> ApiError:
    message = (
        f"Origin: pages of {origin[:100]!r} may not use this server: allow them with "
        "--allowed-origin"
    )
    return ApiError(403, "forbidden_origin", message)


def body_too_large(limit: int) -> ApiError:
    return ApiError(413, "body_too_large", f"The body has more than {limit} bytes")


def too_many_sequences(prompts: int, n: int, limit: int) -> ApiError:
    message = (
        f"The request has {prompts * n} sequences ({prompts} prompts × n {n}); this server runs at "
        f"most {limit} at a time"
    )
    return ApiError(400, "too_many_sequences", message, "prompt" if prompts > limit else "n")


def response_too_large(values: int, limit: int) -> ApiError:
    message = (
        f"The response can have {values} values: 1 + logprobs for each token of max_tokens, and of "
        f"the prompt with echo, in every sequence; the maximum is {limit}. Lower max_tokens, "
        "logprobs, n or the number of prompts"
    )
    return ApiError(400, "response_too_large", message, "max_tokens")


def rate_limited(retry_after: int) -> ApiError:
    """Refuse a request for now. retry_after: in seconds."""
    headers = {"Retry-After": str(retry_after)}
    return ApiError(429, "rate_limited", "Rate limited", None, "rate_limit_error", headers)


def request_timeout(seconds: float) -> ApiError:
    message = f"The request was not finished within {seconds:g} seconds"
    return ApiError(504, "request_timeout", message, None, "timeout_error")


def invalid_timeout(value: str) -> ApiError:
    message = f"x-request-timeout: must be a positive number of seconds, got {value[:100]!r}"
    return ApiError(400, "invalid_timeout", message, "x-request-timeout")


def draining() -> ApiError:
    return unavailable("draining", "The server is shutting down")


def engine_down() -> ApiError:
    return unavailable("engine_down", "The engine of this model is down")


def unavailable(code: str, message: str) -> ApiError:
    return ApiError(503, code, message, None, "service_unavailable", RETRY_AFTER)


def internal_error() -> ApiError:
    return ApiError(500, "internal_error", "Internal server error", None, "server_error")


def to_api_error(error: Exception) -> ApiError:
    """Convert any error of a request. The message of an unexpected error is not sent."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, EngineDown):
        return engine_down()
    for kind, (code, param) in BAD_REQUESTS.items():
        if isinstance(error, kind):
            return ApiError(400, code, str(error)[:MAX_MESSAGE], param)
    return internal_error()


def on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    record_of(request.scope).error = error.code
    return JSONResponse(error.body, error.status, error.headers)


def on_engine_down(request: Request, error: Exception) -> Response:
    return on_api_error(request, engine_down())


def on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidRequest)
    record_of(request.scope).error = "invalid_request"
    return JSONResponse({"detail": error.detail}, 422)


def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    record_of(request.scope).error = error.detail.lower().replace(" ", "_")
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def on_unhandled(request: Request, error: Exception) -> Response:
    """Handle an unexpected error. The middleware does not see this response."""
    response = on_api_error(request, internal_error())
    response.headers["x-request-id"] = record_of(request.scope).request_id
    return response


HANDLERS: dict[Any, ExceptionHandler] = {
    ApiError: on_api_error,
    EngineDown: on_engine_down,
    InvalidRequest: on_invalid_request,
    HTTPException: on_http_exception,
    Exception: on_unhandled,
}
