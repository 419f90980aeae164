"""The record of one request: the source of its metrics, its log line and its trace.

It has no text: no prompt, no output, no key, and no name of an end user.
"""

import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import Scope

from reference.request import Event, PromptProcessed, TokenGenerated

VALID_ID = re.compile(r"[\x21-\x7e]{1,128}")
CLIENT_CLOSED = 499  # the status of a request whose client has disconnected, as in nginx's log


def ignore(seconds: float) -> None:
    """Discard an inter-token latency."""


@dataclass(eq=False)
class RequestRecord:
    """A request, filled in while it is processed. Times are in seconds.

    request_id: from the header `x-request-id`, else a new one. start: `time.monotonic()`.
    start_ns: nanoseconds since 1970. is_completion: whether it is for the completions endpoint.
    principal: digest of the key. model: the name of a served model. status: of the response; None
    before it begins. error: the code of the error that ended the request. ttft: time to the first
    token. queue, prefill: of the first prompt that was processed. on_latency: called with the time
    between two tokens of a choice.
    """

    request_id: str
    method: str
    path: str
    headers: Headers
    start: float = field(default_factory=time.monotonic)
    start_ns: int = field(default_factory=time.time_ns)
    is_completion: bool = False
    principal: str = ""
    model: str = ""
    status: int | None = None
    error: str | None = None
    disconnected: bool = False
    completion_id: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    finish_reasons: Counter[str] = field(default_factory=Counter)
    queue: float | None = None
    prefill: float | None = None
    ttft: float | None = None
    duration: float = 0.0
    on_latency: Callable[[float], None] = ignore
    _last_token: dict[tuple[int, int], float] = field(default_factory=dict)

    @classmethod
    def of(cls, scope: Scope) -> "RequestRecord":
        """Begin the record of an HTTP request, and attach it to the scope."""
        headers = Headers(scope=scope)
        sent = headers.get("x-request-id", "")
        request_id = sent if VALID_ID.fullmatch(sent) else uuid.uuid4().hex
        record = cls(request_id, scope["method"], scope["path"], headers)
        scope["record"] = record
        return record

    def on_event(self, prompt: int, event: Event) -> None:
        """Note the times of an engine's event for a prompt of the request."""
        match event:
            case PromptProcessed():
                if self.queue is None:
                    self.queue, self.prefill = event.queue_seconds, event.prefill_seconds
            case TokenGenerated():
                now, key = time.monotonic(), (prompt, event.choice)
                if self.ttft is None:
                    self.ttft = now - self.start
                if key in self._last_token:
                    self.on_latency(now - self._last_token[key])
                self._last_token[key] = now

    def finish(self) -> None:
        """Note the end of the request."""
        self.duration = time.monotonic() - self.start
        if self.status is None or self.disconnected:
            self.status = CLIENT_CLOSED
        self._last_token.clear()

    @property
    def succeeded(self) -> bool:
        return self.status == 200 and self.error is None


def record_of(scope: Scope) -> RequestRecord:
    """Return the record of a request. An app without the middleware has a new one."""
    record: RequestRecord | None = scope.get("record")
    return RequestRecord.of(scope) if record is None else record
