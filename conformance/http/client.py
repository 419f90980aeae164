"""A server under test, as a check sees it."""

import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx

from conformance.http.exchange import Exchange, as_sent, clean, sent, shortened
from conformance.http.response import Answer, Stream, parsed
from conformance.verdicts import Broken, Failed, Inconclusive, Unsupported

if TYPE_CHECKING:
    from conformance.oracle.truth import Truth

PROMPT = "Once upon a time"
BUSY = (429, 503)  # with Retry-After: no answer yet
ATTEMPTS = 5
LARGEST = 64 * 2**20  # bytes of an answer
ENCODED = ("content-encoding", "content-length", "transfer-encoding")  # of what was sent, not read
T = TypeVar("T")


class Budget:
    """How many requests may be sent. limit: None for any number. closed: why no more may."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit, self.spent = limit, 0
        self.closed: str | None = None
        self._lock = threading.Lock()

    def spend(self) -> None:
        """Raises Inconclusive if nothing is left."""
        if self.closed is not None:
            raise Inconclusive(self.closed)
        with self._lock:
            if self.limit is not None and self.spent >= self.limit:
                raise Inconclusive(f"the {self.limit} requests that were allowed are spent")
            self.spent += 1


@dataclass(frozen=True)
class Reply:
    """A response, whatever it says."""

    status: int
    headers: Mapping[str, str]
    text: str
    at: Exchange = field(repr=False)

    @property
    def json(self) -> dict[str, Any]:
        """Raises Failed if it is no JSON object."""
        return parsed(self.text, self.at)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a server is, and what is shared by all checks of it.

    base: the URL up to `/completions`, as clients of OpenAI's API are given it. model: the name it
    is asked for. alpha: how likely a server that conforms may fail any statistical check of a run.
    """

    base: str
    model: str
    http: httpx.Client
    api_key: str | None = None
    truth: "Truth | None" = None
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    facts: dict[str, Any] = field(default_factory=dict)
    locks: dict[str, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def root(self) -> str:
        """The URL without its path."""
        return urlunsplit(urlsplit(self.base)._replace(path="", query="", fragment=""))

    def server(self, name: str, alpha: float = 1e-6) -> "Server":
        """For one check."""
        return Server(self, random.Random(f"{self.seed} {name}"), alpha)


def base_of(url: str) -> str:
    """A URL without a path is the root of a server that has the API under /v1."""
    url = url if "://" in url else f"http://{url}"
    url = url.rstrip("/").removesuffix("/completions")
    return url if urlsplit(url).path else f"{url}/v1"


class Server:
    """What a check is given. rng: its own chance, the same in each run of one seed. alpha: how
    likely a server that conforms may fail this check by chance.
    """

    def __init__(self, target: Target, rng: random.Random, alpha: float) -> None:
        self.target, self.rng, self.alpha = target, rng, alpha
        self.requests = 0
        self.last: Exchange | None = None

    @property
    def truth(self) -> "Truth":
        """Raises Inconclusive if no checkpoint was given."""
        if self.target.truth is None:
            raise Inconclusive("needs --truth CHECKPOINT")
        return self.target.truth

    def body(self, **fields: Any) -> dict[str, Any]:
        """A request that is greedy and short unless it says otherwise; `...` leaves a field out."""
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
        """Any request. body: JSON, or bytes as they are. url: else that of completions. headers:
        else those with the key. Raises Broken if nothing comes back, Inconclusive if no more
        requests are allowed.
        """
        url = url or f"{self.target.base}/completions"
        content = b"" if method == "GET" else as_sent(body)
        headers = self.headers() if headers is None else dict(headers)
        self.last = at = sent(method, url, headers, content, self.target.api_key)
        ask = partial(self._answered, method, url, content, headers, at)
        for _ in range(ATTEMPTS):
            reply = ask()
            if reply.status not in BUSY or "retry-after" not in reply.headers:
                return reply
            time.sleep(patience(reply.headers["retry-after"]))
        raise Inconclusive(f"the server is busy: it answers {reply.status} again and again", at=at)

    def _answered(
        self, method: str, url: str, content: bytes, headers: Mapping[str, str], at: Exchange
    ) -> Reply:
        """A server may have closed a connection that was kept open: then it is asked once more, on
        another. Each time is a request.
        """
        try:
            try:
                reply = self._read(method, url, content, headers)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                reply = self._read(method, url, content, headers)
        except httpx.HTTPError as error:
            at.response = shortened(self.clean(f"{type(error).__name__}: {error}"))
            raise Broken(at.response, at=at) from error
        at.status, at.response = reply.status_code, shortened(reply.text, self.target.api_key)
        return Reply(reply.status_code, reply.headers, reply.text, at)

    def _read(
        self, method: str, url: str, content: bytes, headers: Mapping[str, str]
    ) -> httpx.Response:
        """One request. Raises ReadTimeout for an answer that does not end in time, or is too long
        to be one.
        """
        self.target.budget.spend()
        self.requests += 1
        http, start, body = self.target.http, time.monotonic(), bytearray()
        with http.stream(method, url, content=content, headers=dict(headers)) as reply:
            limit = http.timeout.read or math.inf
            for part in reply.iter_bytes():
                body += part
                if len(body) > LARGEST or time.monotonic() - start > limit:
                    raise httpx.ReadTimeout(f"no end after {len(body)} bytes")
        kept = {k: v for k, v in reply.headers.items() if k.lower() not in ENCODED}
        return httpx.Response(reply.status_code, headers=kept, content=bytes(body))

    def clean(self, text: str) -> str:
        """Without the key, should a server send it back."""
        return clean(text, self.target.api_key)

    def headers(self) -> dict[str, str]:
        key = self.target.api_key
        return {"content-type": "application/json"} | (
            {"authorization": f"Bearer {key}"} if key else {}
        )

    def post(self, **fields: Any) -> Reply:
        """A completion, whatever comes of it."""
        return self.send(self.body(**fields))

    def ask(self, **fields: Any) -> Answer:
        """A completion that succeeds. Raises Unsupported if it is refused, Broken if the server
        fails.
        """
        reply = self.post(**fields)
        demand_success(reply)
        return Answer(reply.json, reply.at)

    def ask_all(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Completions that are asked for together."""
        return together([partial(self.ask, **body) for body in bodies])

    def stream(self, **fields: Any) -> Stream:
        """A completion that succeeds and comes as events."""
        reply = self.post(**fields, stream=True)
        demand_success(reply)
        kind = reply.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            raise Failed("an event stream", f"content-type {kind!r}", at=reply.at)
        return Stream(reply.text, reply.at)


def patience(seconds: str) -> float:
    """How long a server wants to be left alone, as far as that is reasonable. Not every server says
    it in seconds.
    """
    try:
        return min(max(float(seconds), 0.0), 30.0)
    except ValueError:
        return 1.0


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """The results of calls that run at the same time, each on a thread."""
    with ThreadPoolExecutor(max(1, len(calls))) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def demand_success(reply: Reply) -> None:
    """Raises Unsupported for a 4xx, Broken for a 5xx or anything else that is no success."""
    if reply.status == 200:
        return
    seen = f"answered {reply.status}: {reply.at.response[:300]}"
    kind = Unsupported if 400 <= reply.status < 500 else Broken
    raise kind(seen, at=reply.at)
