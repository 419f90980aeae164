"""The served models, their admission limits, and the parsing of a body for one of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from api.arguments import MAX_CONCURRENCY, MAX_RESPONSE_VALUES
from api.auth import Keys
from api.engine import ServedModel
from api.errors import draining, engine_down, rate_limited, too_many_sequences, unknown_model
from api.schema.parsing import parse_json
from api.schema.request import CompletionRequest, request_model
from api.schema.unknown_fields import unknown_fields
from api.schema.validation_errors import validate


@dataclass(eq=False)
class ModelHandle:
    """A served model, the schema of its requests, and how many sequences are in flight.

    A request is in flight until its response has been sent, with prompts × `n` sequences.
    """

    served_model: ServedModel
    max_concurrency: int
    request_type: type[CompletionRequest]
    in_flight: int = 0

    @property
    def healthy(self) -> bool:
        return self.served_model.engine.stats().healthy

    @contextmanager
    def admission(self, prompts: int, n: int) -> Iterator[None]:
        """Count prompts × n sequences of a request as in flight while the block runs.

        Raises ApiError 503 if the engine is down, 400 if the request alone has more than
        `max_concurrency` sequences, and 429 if there would be more in flight.
        """
        if not self.healthy:
            raise engine_down()
        sequences = prompts * n
        if sequences > self.max_concurrency:
            raise too_many_sequences(prompts, n, self.max_concurrency)
        if self.in_flight + sequences > self.max_concurrency:
            raise rate_limited()
        self.in_flight += sequences
        try:
            yield
        finally:
            self.in_flight -= sequences


@dataclass(frozen=True)
class ParsedRequest:
    """A validated body and its model. ignored: the paths of unknown fields."""

    handle: ModelHandle
    body: CompletionRequest
    ignored: Sequence[Sequence[str]]


@dataclass(eq=False, kw_only=True)
class Service:
    """The state of the app. draining: whether new requests are refused.

    max_concurrency: sequences in flight per model. max_response_values: see `api.prepare`.
    """

    served_models: Sequence[ServedModel]
    keys: Keys = Keys()
    max_concurrency: int = MAX_CONCURRENCY
    max_response_values: int = MAX_RESPONSE_VALUES
    max_logprobs: int = 20
    max_body_bytes: int = 16 * 2**20
    strict: bool = False
    draining: bool = field(default=False, init=False)

    @cached_property
    def handles(self) -> dict[str, ModelHandle]:
        """The handle of each served model, by name."""
        return {model.name: self._handle(model) for model in self.served_models}

    def _handle(self, model: ServedModel) -> ModelHandle:
        request_type = request_model(self.max_logprobs, model.vocab_size)
        return ModelHandle(model, self.max_concurrency, request_type)

    @cached_property
    def generic_request_type(self) -> type[CompletionRequest]:
        """The request without the bounds of any model, to validate one for an unknown model."""
        return request_model(self.max_logprobs)

    @property
    def in_flight(self) -> int:
        """Return the number of sequences in flight, over all models."""
        return sum(handle.in_flight for handle in self.handles.values())

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
