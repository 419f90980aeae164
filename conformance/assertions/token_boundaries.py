"""A greedy text, and where in it each token ends: seen from outside, by asking for fewer tokens."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from conformance.http.client import PROMPT, Server
from conformance.oracle.sampling import PROMPTS
from conformance.verdicts import Inconclusive

COUNT = 8  # tokens
MARK = "☃"  # what no text of a model goes on with
UNREADABLE = "\ufffd"
T = TypeVar("T")


@dataclass(frozen=True)
class Growth:
    """ends: the characters of the text after one token, after two, and so on."""

    prompt: str
    text: str
    ends: tuple[int, ...]

    @property
    def asked(self) -> dict[str, Any]:
        """The fields of the request that gave it."""
        return {"prompt": self.prompt, "max_tokens": len(self.ends)}

    def tokens(self, end: int) -> int:
        """How many tokens there are when a character is, the `end`-th."""
        return bisect_left(self.ends, end) + 1

    def first(self, start: int, end: int) -> bool:
        """Whether a part of the text does not stand in it before."""
        return 0 <= start < end and self.text.find(self.text[start:end]) == start

    def across(self) -> list[tuple[int, int]]:
        """Parts of the text that begin in one token and end in the next."""
        found = [(end - 1, end + 1) for end in self.ends[1:-1] if self.first(end - 1, end + 1)]
        return told(found, "no two tokens meet in the text as nowhere before in it")

    def nested(self) -> list[tuple[int, int, int, int]]:
        """Parts within parts: the inner begins later and ends earlier, in the same token."""
        found = []
        for end in range(4, len(self.text)):
            outer, inner = (end - 4, end + 1), (end - 3, end)
            both = self.first(*outer) and self.first(*inner)
            if both and self.tokens(end) == self.tokens(end + 1):
                found.append((*outer, *inner))
        return told(found, "no part of the text has another in it that tells")


def told(found: list[T], otherwise: str) -> list[T]:
    """Raises Inconclusive if nothing was found. Three are enough."""
    if not found:
        raise Inconclusive(otherwise)
    return found[:: max(1, len(found) // 3)][:3]


def growth(server: Server) -> Growth:
    """Of the first prompt whose text is readable after every token. Asked for once a run."""
    facts = server.target.facts
    if "growth" not in facts:
        facts["growth"] = next(growths(server), None)
    found: Growth | None = facts["growth"]
    if found is None:
        raise Inconclusive("no text of the prompts tried grows with each of its tokens")
    return found


def growths(server: Server) -> Iterator[Growth]:
    for prompt in (PROMPT, *PROMPTS):
        whole = server.ask(prompt=prompt, max_tokens=COUNT).choice
        if UNREADABLE in whole.text or whole.finish_reason != "length":
            continue
        bodies = [{"prompt": prompt, "max_tokens": count} for count in range(1, COUNT)]
        parts = [answer.text for answer in server.ask_all(bodies)] + [whole.text]
        pairs = zip(["", *parts], parts, strict=False)
        if all(b.startswith(a) and len(b) > len(a) for a, b in pairs):
            yield Growth(prompt, whole.text, tuple(map(len, parts)))
