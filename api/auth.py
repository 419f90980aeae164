"""Who asks: a key in `Authorization: Bearer …` or in `xi-api-key`."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException


@dataclass(frozen=True)
class Keys:
    """The keys that open the endpoint, by their SHA-256 only. No keys: it is open to everybody."""

    digests: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, keys: Iterable[str]) -> Self:
        return cls(tuple(digest(key.encode()) for key in keys))

    def principal(self, headers: Headers) -> str:
        """The digest of the key that was sent; "" if the endpoint is open.

        Raises HTTPException 401 unless one of the tokens that were sent is a key.
        """
        if not self.digests:
            return ""
        for token in tokens(headers):
            if self.holds(given := digest(token)):
                return given.hex()
        raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})

    def holds(self, given: bytes) -> bool:
        """In a time that does not depend on which key it is, or how much of it is right."""
        return any([hmac.compare_digest(known, given) for known in self.digests])


def digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def tokens(headers: Headers) -> Iterator[bytes]:
    """What was sent as a key, byte for byte (Starlette reads headers as Latin-1)."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield token.strip().encode("latin-1")
    if "xi-api-key" in headers:
        yield headers["xi-api-key"].encode("latin-1")
