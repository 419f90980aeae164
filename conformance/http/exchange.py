"""One request and its response, as it is shown to people: never with a key in it."""

import json
import re
import shlex
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

SECRET = frozenset({"authorization", "xi-api-key"})
LONGEST = 4000  # characters of a body that are kept
VARIABLE = re.compile(r"[\w-]+: (\w+ )?\$(API|WRONG)_KEY")


class Exchange(BaseModel):
    """body: of the request, as it was sent. whole: whether that is all of it, and text. status:
    None if nothing came back.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: str
    whole: bool = True
    status: int | None = None
    response: str = ""

    @property
    def curl(self) -> str:
        """The request as a command. The key is left to the shell."""
        parts = ["curl", "-sS", self.url]
        parts += ["-X", self.method] if self.method not in ("GET", "POST") else []
        for name, value in self.headers.items():
            parts += ["-H", f"{name}: {value}" if value else f"{name};"]
        if self.method == "POST" or self.body:
            if not any(name.lower() == "content-type" for name in self.headers):
                parts += ["-H", "content-type:"]  # curl would say that it is a form
            parts += ["--data-raw", self.body]
        command = " ".join(map(quoted, parts))
        return command if self.whole else f"{command}  # too long to be shown, or no text"


def sent(
    method: str, url: str, headers: Mapping[str, str], content: bytes, key: str | None
) -> Exchange:
    """A request, before anything came back. key: what must not be shown."""
    text = content.decode(errors="backslashreplace")
    return Exchange(
        method=method,
        url=clean(url, key),
        headers=redacted(headers, key),
        body=shortened(text, key),
        whole=text.encode() == content and "\0" not in text and len(text) <= LONGEST,
    )


def quoted(part: str) -> str:
    """For a shell. What stands for a key is in double quotes, so that the shell fills it in."""
    return f'"{part}"' if VARIABLE.fullmatch(part) else shlex.quote(part)


def redacted(headers: Mapping[str, str], key: str | None) -> dict[str, str]:
    """The headers, with a variable's name in the place of the key. Another key, which a check made
    up, is shown, unless it gives much of the right one away.
    """
    return {name: redacted_value(name, value, key) for name, value in headers.items()}


def redacted_value(name: str, value: str, key: str | None) -> str:
    if key is None or name.lower() not in SECRET:
        return clean(value, key)
    scheme, space, credentials = value.rpartition(" ")
    if credentials == key:
        return f"{scheme}{space}$API_KEY"
    return f"{scheme}{space}$WRONG_KEY" if resembles(value, key) else value


def resembles(text: str, key: str) -> bool:
    """Whether half of a key, or more, stands in a text."""
    half, text, key = (len(key) + 1) // 2, text.lower(), key.lower()
    return any(key[i : i + half] in text for i in range(len(key) - half + 1))


def clean(text: str, key: str | None) -> str:
    """A text without the key, which a server may have sent back, whole, cut, or escaped."""
    if key is None:
        return text
    for escaped in json.dumps(key)[1:-1], quote(key, safe=""):
        text = text.replace(escaped, "$API_KEY")
    return pattern(key).sub(lambda m: "$API_KEY" if m[0] == key else "$PART_OF_API_KEY", text)


@lru_cache(8)
def pattern(key: str) -> re.Pattern[str]:
    """A key, and its beginnings and ends of half its length or more; the longest first."""
    least = max(8, (len(key) + 1) // 2)
    cut = range(len(key) - 1, least - 1, -1)
    parts = [part for size in cut for part in (key[:size], key[-size:])]
    return re.compile("|".join(map(re.escape, (key, *parts))))


def shortened(text: str, key: str | None = None) -> str:
    """As much of a text as is kept, without the key. What is no character is escaped: it could not
    be written.
    """
    size = len(text)
    text = clean(text[: LONGEST + len(key or "")], key)
    text = text.encode(errors="backslashreplace").decode()
    return text if size <= LONGEST else f"{text[:LONGEST]}… ({size} characters)"


def as_sent(body: Any) -> bytes:
    """A body as bytes: JSON of anything but bytes, which are sent as they are."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()
