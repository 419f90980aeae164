"""What is served, to whom, and within which limits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from api.auth import Keys
from api.engine import Served
from api.errors import Invalid, draining, engine_down, rate_limited, unknown_model
from api.schema.parsing import MAX_ERRORS, Detail, details, forbidden, parse, unknown
from api.schema.request import KNOWN, CompletionRequest, request_model

MAX_IGNORED = 1000  # characters of x-ignored-parameters


@dataclass(eq=False)
class Lane:
    """A model and the requests for it that are in flight."""

    served: Served
    limit: int
    request: type[CompletionRequest]
    running: int = 0

    @property
    def healthy(self) -> bool:
        return self.served.engine.stats().healthy

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place among those in flight. Raises ApiError 429 if there is none, 503 if the engine is
        down.
        """
        if not self.healthy:
            raise engine_down()
        if self.running >= self.limit:
            raise rate_limited()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1


@dataclass(frozen=True)
class Call:
    """A valid request. ignored: the paths of the fields that nobody knows."""

    lane: Lane
    asked: CompletionRequest
    ignored: Sequence[Sequence[str]]


@dataclass(eq=False, kw_only=True)
class Service:
    """The state of the app. draining: whether new requests are turned away."""

    served: Sequence[Served]
    keys: Keys = Keys()
    max_concurrency: int = 200
    max_logprobs: int = 20
    max_body_bytes: int = 16 * 2**20
    strict: bool = False
    draining: bool = field(default=False, init=False)

    @cached_property
    def lanes(self) -> dict[str, Lane]:
        """By name."""
        return {s.name: self._lane(s) for s in self.served}

    def _lane(self, served: Served) -> Lane:
        request = request_model(self.max_logprobs, served.vocab_size)
        return Lane(served, self.max_concurrency, request)

    @cached_property
    def any_request(self) -> type[CompletionRequest]:
        """How a request for no model of ours is read."""
        return request_model(self.max_logprobs)

    @property
    def in_flight(self) -> int:
        return sum(lane.running for lane in self.lanes.values())

    def admit(self) -> None:
        """Raises ApiError 503 while the server is draining."""
        if self.draining:
            raise draining()

    def read(self, body: bytes) -> Call:
        """Raises Invalid with every error of the body, and ApiError 404 for a model that is not
        served.
        """
        value = parse(body)
        name = value.get("model")
        lane = self.lanes.get(name) if isinstance(name, str) else None
        ignored = unknown(value, KNOWN)
        asked = validate(
            lane.request if lane else self.any_request, value, ignored if self.strict else ()
        )
        if lane is None:
            raise unknown_model(asked.model)
        return Call(lane, asked, ignored)


def validate(
    model: type[CompletionRequest], value: dict[str, Any], extra: Sequence[Sequence[str]]
) -> CompletionRequest:
    """Raises Invalid: what is wrong with the fields, then those that are forbidden."""
    errors: list[Detail] = [forbidden(value, path) for path in islice(extra, MAX_ERRORS)]
    try:
        asked = model.model_validate(value, from_attributes=True)
    except ValidationError as error:
        raise Invalid(details(error) + errors) from None
    if errors:
        raise Invalid(errors)
    return asked


def ignored_header(paths: Sequence[Sequence[str]]) -> dict[str, str]:
    """`x-ignored-parameters`: names with commas between them, percent-encoded. What does not fit is
    left out, and "…" says so.
    """
    named, length = [], 0
    for path in paths:
        name = ".".join(quote(part[:MAX_IGNORED], safe="", errors="replace") for part in path)
        length += len(name) + 1
        if length > MAX_IGNORED:
            named.append("...")
            break
        named.append(name)
    return {"x-ignored-parameters": ",".join(named)} if named else {}
