"""Authentication by an API key, in `Authorization: Bearer …` or in `xi-api-key`."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException


@dataclass(frozen=True)
class Keys:
    """The valid API keys, stored as SHA-256 digests. An empty set requires no key."""

    digests: tuple[bytes, ...] = ()

    @classmethod
    def from_strings(cls, keys: Iterable[str]) -> Self:
        return cls(tuple(digest(key.encode()) for key in keys))

    def principal(self, headers: Headers) -> str:
        """Return the digest of the key in the headers; "" if no key is required.

        Raises HTTPException 401 if the headers have no valid key.
        """
        if not self.digests:
            return ""
        for key in sent_keys(headers):
            if self.contains(key_digest := digest(key)):
                return key_digest.hex()
        raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})

    def contains(self, key_digest: bytes) -> bool:
        """Return whether a key is valid, in a time that does not depend on the keys."""
        return any([hmac.compare_digest(valid, key_digest) for valid in self.digests])


def digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def sent_keys(headers: Headers) -> Iterator[bytes]:
    """Yield the keys in the headers, byte for byte (Starlette decodes headers as Latin-1)."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield key.strip().encode("latin-1")
    if "xi-api-key" in headers:
        yield headers["xi-api-key"].encode("latin-1")
