"""One request and its response as shown to people; the API key is never part of it."""

import json
import re
import shlex
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

SECRET_HEADERS = frozenset({"authorization", "xi-api-key"})
MAX_BODY_CHARS = 4000  # characters of a body that are kept
MIN_LEAK_CHARS = 8  # a shorter part of the key may occur by coincidence
KEY_VARIABLE = re.compile(r"[\w-]+: (\w+ )?\$(API|WRONG)_KEY")


class Exchange(BaseModel):
    """A request and its response.

    body: that of the request. whole: `body` is complete, and valid text. status: None if there was
    no response. command: the shell command of an exchange that is not over HTTP.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: str
    whole: bool = True
    status: int | None = None
    response: str = ""
    command: str = ""

    @property
    def curl(self) -> str:
        """The request as a shell command that reads the key from $API_KEY."""
        if self.command:
            return self.command
        parts = ["curl", "-sS", self.url]
        parts += ["-X", self.method] if self.method not in ("GET", "POST") else []
        for name, value in self.headers.items():
            parts += ["-H", f"{name}: {value}" if value else f"{name};"]
        if self.method == "POST" or self.body:
            if not any(name.lower() == "content-type" for name in self.headers):
                parts += ["-H", "content-type:"]  # else curl declares a form
            parts += ["--data-raw", self.body]
        command = " ".join(map(shell_quote, parts))
        return command if self.whole else f"{command}  # the body is too long or not text"


def record_request(
    method: str, url: str, headers: Mapping[str, str], content: bytes, key: str | None
) -> Exchange:
    """Return the exchange of a request that has no response yet, without the key."""
    text = content.decode(errors="backslashreplace")
    return Exchange(
        method=method,
        url=redact(url, key),
        headers=redact_headers(headers, key),
        body=truncate(text, key),
        whole=text.encode() == content and "\0" not in text and len(text) <= MAX_BODY_CHARS,
    )


def shell_quote(part: str) -> str:
    """Quote a word for a shell; a header with a key variable stays open to expansion."""
    return f'"{part}"' if KEY_VARIABLE.fullmatch(part) else shlex.quote(part)


def redact_headers(headers: Mapping[str, str], key: str | None) -> dict[str, str]:
    """Replace the key by a shell variable. A wrong key is kept, unless it leaks the right one."""
    return {name: redact_header(name, value, key) for name, value in headers.items()}


def redact_header(name: str, value: str, key: str | None) -> str:
    if key is None or name.lower() not in SECRET_HEADERS:
        return redact(value, key)
    scheme, space, credentials = value.rpartition(" ")
    if credentials == key:
        return f"{scheme}{space}$API_KEY"
    return f"{scheme}{space}$WRONG_KEY" if leaks_key(value, key) else value


def leaks_key(text: str, key: str) -> bool:
    """Return whether a text contains at least half of a key, in either case."""
    half, text, key = (len(key) + 1) // 2, text.lower(), key.lower()
    return any(key[i : i + half] in text for i in range(len(key) - half + 1))


def redact(text: str, key: str | None) -> str:
    """Remove the key from a text in which a server may have repeated it, cut it or escaped it."""
    if key is None:
        return text
    for escaped in json.dumps(key)[1:-1], quote(key, safe=""):
        text = text.replace(escaped, "$API_KEY")
    return key_pattern(key).sub(lambda m: "$API_KEY" if m[0] == key else "$PART_OF_API_KEY", text)


@lru_cache(8)
def key_pattern(key: str) -> re.Pattern[str]:
    """Match a key, and its prefixes and suffixes of at least half its length, longest first."""
    min_chars = max(MIN_LEAK_CHARS, (len(key) + 1) // 2)
    sizes = range(len(key) - 1, min_chars - 1, -1)
    parts = [part for size in sizes for part in (key[:size], key[-size:])]
    return re.compile("|".join(map(re.escape, (key, *parts))))


def truncate(text: str, key: str | None = None) -> str:
    """Return the first `MAX_BODY_CHARS` of a text without the key; lone surrogates are escaped."""
    size = len(text)
    # Redact before cutting, or a key at the end would be cut and not recognized.
    text = redact(text[: MAX_BODY_CHARS + len(key or "")], key)
    text = text.encode(errors="backslashreplace").decode()
    return text if size <= MAX_BODY_CHARS else f"{text[:MAX_BODY_CHARS]}… ({size} characters)"


def encode_body(body: Any) -> bytes:
    """Return bytes unchanged, and anything else as JSON."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()
