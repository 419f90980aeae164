"""The served models, their admission limits, and the parsing of a body for one of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from api.admission import Admission
from api.engine import ServedModel
from api.errors import draining, engine_down, unknown_model
from api.observability.metrics import Metrics
from api.options.arguments import MAX_CONCURRENCY, MAX_RESPONSE_VALUES
from api.schema.parsing import parse_json
from api.schema.request import CompletionRequest, request_model
from api.schema.unknown_fields import unknown_fields
from api.schema.validation_errors import validate
from api.security.auth import Keys


@dataclass(eq=False)
class ModelHandle:
    """A served model, the schema of its requests, and their admission."""

    served_model: ServedModel
    request_type: type[CompletionRequest]
    admission: Admission

    @property
    def healthy(self) -> bool:
        return self.served_model.engine.stats().healthy

    def ensure_healthy(self) -> None:
        """Raise ApiError 503 if the engine is down."""
        if not self.healthy:
            raise engine_down()


@dataclass(frozen=True)
class ParsedRequest:
    """A validated body and its model. ignored: the paths of unknown fields."""

    handle: ModelHandle
    body: CompletionRequest
    ignored: Sequence[Sequence[str]]


@dataclass(eq=False, kw_only=True)
class Service:
    """The state of the app. draining: whether new requests are refused. failure: why the server
    stops: an engine is down, or a step takes longer than the watchdog allows.

    max_concurrency: sequences in flight per model. max_response_values: see `api.prepare`.
    request_timeout: maximum time of a request in seconds; None for no limit. keep_alive: seconds
    between comments in a stream that has no token yet; None for no comments.
    """

    served_models: Sequence[ServedModel]
    keys: Keys = Keys()
    max_concurrency: int = MAX_CONCURRENCY
    max_response_values: int = MAX_RESPONSE_VALUES
    max_logprobs: int = 20
    max_body_bytes: int = 16 * 2**20
    strict: bool = False
    request_timeout: float | None = None
    keep_alive: float | None = 15.0
    draining: bool = field(default=False, init=False)
    failure: Literal["down", "hung"] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Raise ValueError if two models share a name or an alias."""
        names = [name for model in self.served_models for name in (model.name, *model.aliases)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"served_models: two models have the same name {twice[0]!r}")

    @cached_property
    def handles(self) -> dict[str, ModelHandle]:
        """The handle of each served model, by name and by alias."""
        handles = [self._handle(model) for model in self.served_models]
        return {
            name: handle
            for handle in handles
            for name in (handle.served_model.name, *handle.served_model.aliases)
        }

    def _handle(self, model: ServedModel) -> ModelHandle:
        request_type = request_model(self.max_logprobs, model.vocab_size)
        admission = Admission(self.max_concurrency, fair=len(self.keys.digests) > 1)
        return ModelHandle(model, request_type, admission)

    @cached_property
    def metrics(self) -> Metrics:
        return Metrics(self.served_models)

    @cached_property
    def generic_request_type(self) -> type[CompletionRequest]:
        """The request without the bounds of any model, to validate one for an unknown model."""
        return request_model(self.max_logprobs)

    @property
    def in_flight(self) -> int:
        """Return the number of sequences in flight, over all models."""
        handles = (self.handles[model.name] for model in self.served_models)
        return sum(handle.admission.in_flight for handle in handles)

    def ensure_accepting(self) -> None:
        """Raise ApiError 503 while the server is draining."""
        if self.draining:
            raise draining()

    def parse_request(self, content: bytes) -> ParsedRequest:
        """Parse and validate the content of a body.

        Raises InvalidRequest with every error, and ApiError 404 if the model is not served.
        """
        json = parse_json(content)
        name = json.get("model")
        handle = self.handles.get(name) if isinstance(name, str) else None
        request_type = handle.request_type if handle else self.generic_request_type
        ignored = unknown_fields(json)
        body = validate(request_type, json, forbidden=ignored if self.strict else ())
        if handle is None:
            raise unknown_model(body.model)
        return ParsedRequest(handle, body, ignored)
