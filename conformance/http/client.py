"""A server under test: the state that a run shares, and the client of one check."""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx

from conformance.http.budget import Budget
from conformance.http.exchange import Exchange, encode_body, record_request, redact, truncate
from conformance.http.oracle import Oracle
from conformance.http.response import Completion, Stream, parse_object
from conformance.verdicts import Failed, Inconclusive, NotApplicable, ServerError, Unsupported

PROMPT = "Once upon a time"
BUSY_STATUSES = (429, 503)  # retried if they come with Retry-After
MAX_ATTEMPTS = 5
MAX_RESPONSE_BYTES = 64 * 2**20
MAX_RETRY_SECONDS = 30.0
# Headers that describe the body on the wire, which httpx has already decoded.
ENCODING_HEADERS = ("content-encoding", "content-length", "transfer-encoding")
T = TypeVar("T")


@dataclass(frozen=True)
class Reply:
    """An HTTP response of any status."""

    status: int
    headers: Mapping[str, str]
    text: str
    at: Exchange = field(repr=False)

    @property
    def json(self) -> dict[str, Any]:
        """The body. Raises Failed if it is not a JSON object."""
        return parse_object(self.text, self.at)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The address of a server, and the state that all checks of a run share.

    base: the URL up to `/completions`, as OpenAI clients take it. model: the served model name.
    cache, locks: results of functions that run once per run, see `harness.once`. answered: the
    latest exchanges that have a response.
    """

    base: str
    model: str
    http: httpx.Client
    api_key: str | None = None
    oracle: Oracle | None = None
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    cache: dict[str, Any] = field(default_factory=dict)
    locks: dict[str, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    answered: deque[Exchange] = field(default_factory=lambda: deque(maxlen=8))

    @property
    def root(self) -> str:
        """The URL without its path."""
        return urlunsplit(urlsplit(self.base)._replace(path="", query="", fragment=""))

    def server(self, name: str, alpha: float = 1e-6) -> "Server":
        """Return the client for one check. name: selects its random numbers."""
        return Server(self, random.Random(f"{self.seed} {name}"), alpha)


def api_base(url: str) -> str:
    """Return the base URL of an API; a URL without a path is a server root, with the API at /v1."""
    url = url if "://" in url else f"http://{url}"
    url = url.rstrip("/").removesuffix("/completions")
    return url if urlsplit(url).path else f"{url}/v1"


class Server:
    """The client of one check.

    rng: random numbers of this check, the same in every run with the same seed. alpha: the
    probability with which a conforming server may fail this check. last: the latest exchange.
    """

    def __init__(self, target: Target, rng: random.Random, alpha: float) -> None:
        self.target, self.rng, self.alpha = target, rng, alpha
        self.requests = 0
        self.last: Exchange | None = None

    @property
    def oracle(self) -> Oracle:
        """The reference model. Raises NotApplicable if no checkpoint was given."""
        if self.target.oracle is None:
            raise NotApplicable("needs --truth CHECKPOINT")
        return self.target.oracle

    def body(self, **fields: Any) -> dict[str, Any]:
        """Return a request body, by default greedy and short; `...` leaves a field out."""
        defaults = {
            "model": self.target.model,
            "prompt": PROMPT,
            "max_tokens": 8,
            "temperature": 0,
        }
        return {name: v for name, v in (defaults | fields).items() if v is not ...}

    def send(
        self,
        body: Any = None,
        *,
        method: str = "POST",
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send any request, and repeat it while the server is busy.

        body: JSON, or bytes that are sent unchanged. url: by default that of completions. headers:
        by default those with the key. Raises ServerError without a response, Inconclusive if no
        more requests are allowed.
        """
        url = url or f"{self.target.base}/completions"
        content = b"" if method == "GET" else encode_body(body)
        headers = self.headers() if headers is None else dict(headers)
        self.last = at = record_request(method, url, headers, content, self.target.api_key)
        for _ in range(MAX_ATTEMPTS):
            reply = self._exchange(method, url, content, headers, at)
            if reply.status not in BUSY_STATUSES or "retry-after" not in reply.headers:
                return reply
            time.sleep(retry_delay(reply.headers["retry-after"]))
        raise Inconclusive(
            f"the server is busy: it returned {reply.status} in {MAX_ATTEMPTS} attempts", at=at
        )

    def _exchange(
        self, method: str, url: str, content: bytes, headers: Mapping[str, str], at: Exchange
    ) -> Reply:
        """Send a request once more if the connection is lost, and record the response in `at`."""
        try:
            try:
                reply = self._request(method, url, content, headers)
            # The server may have closed a kept-alive connection: the second attempt opens another.
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as lost:
                try:
                    reply = self._request(method, url, content, headers)
                except httpx.ConnectError:
                    raise lost from None  # the server stopped while it answered
        except httpx.HTTPError as error:
            at.response = truncate(self.redact(f"{type(error).__name__}: {error}"))
            raise ServerError(at.response, at=at) from error
        at.status, at.response = reply.status_code, truncate(reply.text, self.target.api_key)
        self.target.answered.append(at)
        return Reply(reply.status_code, reply.headers, reply.text, at)

    def _request(
        self, method: str, url: str, content: bytes, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Send one request. Raises ReadTimeout for a response that is too long or too late."""
        self.target.budget.spend()
        self.requests += 1
        http, start, body = self.target.http, time.monotonic(), bytearray()
        with http.stream(method, url, content=content, headers=dict(headers)) as reply:
            limit = http.timeout.read or math.inf
            # httpx limits the time between two parts; this limits the whole response.
            for part in reply.iter_bytes():
                body += part
                if len(body) > MAX_RESPONSE_BYTES or time.monotonic() - start > limit:
                    raise httpx.ReadTimeout(f"no end after {len(body)} bytes")
        kept = {k: v for k, v in reply.headers.items() if k.lower() not in ENCODING_HEADERS}
        return httpx.Response(reply.status_code, headers=kept, content=bytes(body))

    def redact(self, text: str) -> str:
        """Remove the API key from a text, in case the server sent it back."""
        return redact(text, self.target.api_key)

    def headers(self) -> dict[str, str]:
        """Return the default headers, with the key if there is one."""
        key = self.target.api_key
        return {"content-type": "application/json"} | (
            {"authorization": f"Bearer {key}"} if key else {}
        )

    def post(self, **fields: Any) -> Reply:
        """Request a completion; the reply may have any status."""
        return self.send(self.body(**fields))

    def complete(self, **fields: Any) -> Completion:
        """Request a completion. Raises Unsupported for a 4xx, ServerError for another failure."""
        reply = self.post(**fields)
        assert_success(reply)
        return Completion(reply.json, reply.at)

    def complete_all(self, bodies: Sequence[Mapping[str, Any]]) -> list[Completion]:
        """Request several completions at the same time."""
        return run_concurrently([partial(self.complete, **body) for body in bodies])

    def stream(self, **fields: Any) -> Stream:
        """Request a streamed completion. Raises as `complete`, or Failed for another media type."""
        reply = self.post(**fields, stream=True)
        assert_success(reply)
        media_type = reply.headers.get("content-type", "")
        if not media_type.startswith("text/event-stream"):
            raise Failed("an event stream", f"content-type {media_type!r}", at=reply.at)
        return Stream(reply.text, reply.at)


def retry_delay(seconds: str) -> float:
    """Return the delay of a Retry-After header, limited to `MAX_RETRY_SECONDS`; 1 s for a date."""
    try:
        return min(max(float(seconds), 0.0), MAX_RETRY_SECONDS)
    except ValueError:
        return 1.0


def run_concurrently(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Return the results of calls that run at the same time, each on its own thread."""
    with ThreadPoolExecutor(max(1, len(calls))) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def assert_success(reply: Reply) -> None:
    """Raise Unsupported for a 4xx, ServerError for any other status except 200."""
    if reply.status == 200:
        return
    seen = f"answered {reply.status}: {reply.at.response[:300]}"
    kind = Unsupported if 400 <= reply.status < 500 else ServerError
    raise kind(seen, at=reply.at)
