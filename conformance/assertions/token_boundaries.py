"""A greedy text and the ends of its tokens, observed by requesting fewer tokens."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from conformance.fixtures.prompts import PROMPTS
from conformance.harness.once import once_per_run
from conformance.http.client import PROMPT, Server
from conformance.verdicts import Inconclusive

NUM_TOKENS = 8
ABSENT_TEXT = "☃"  # a model does not generate it
REPLACEMENT_CHARACTER = "\ufffd"
MAX_SPANS = 3
T = TypeVar("T")


@dataclass(frozen=True)
class TokenBoundaries:
    """A greedy text. ends: the length of the text after one token, after two, and so on."""

    prompt: str
    text: str
    ends: tuple[int, ...]

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the request that gave the text."""
        return {"prompt": self.prompt, "max_tokens": len(self.ends)}

    def num_tokens(self, end: int) -> int:
        """Return the number of tokens that contain the first `end` characters."""
        return bisect_left(self.ends, end) + 1

    def is_first_occurrence(self, start: int, end: int) -> bool:
        """Return whether a substring does not occur earlier in the text."""
        return 0 <= start < end and self.text.find(self.text[start:end]) == start

    def spans_across_tokens(self) -> list[tuple[int, int]]:
        """Return (start, end) of substrings that begin in one token and end in the next."""
        spans = [
            (end - 1, end + 1)
            for end in self.ends[1:-1]
            if self.is_first_occurrence(end - 1, end + 1)
        ]
        return choose_spans(spans, "each pair of characters across two tokens occurs earlier")

    def nested_spans(self) -> list[tuple[int, int, int, int]]:
        """Return (outer start, outer end, inner start, inner end) of nested substrings.

        The inner one starts later and ends earlier, in the same token.
        """
        spans = []
        for end in range(4, len(self.text)):
            outer, inner = (end - 4, end + 1), (end - 3, end)
            unique = self.is_first_occurrence(*outer) and self.is_first_occurrence(*inner)
            if unique and self.num_tokens(end) == self.num_tokens(end + 1):
                spans.append((*outer, *inner))
        return choose_spans(spans, "the text has no nested substrings that occur only once")


def choose_spans(spans: list[T], problem: str) -> list[T]:
    """Return at most `MAX_SPANS` of some spans. Raises Inconclusive if there are none."""
    if not spans:
        raise Inconclusive(problem)
    return spans[:: max(1, len(spans) // MAX_SPANS)][:MAX_SPANS]


def token_boundaries(server: Server) -> TokenBoundaries:
    """Return the first text, of the prompts tried, that is readable after every token."""
    boundaries = first_candidate(server)
    if boundaries is None:
        raise Inconclusive("after the prompts tried some token adds no readable text")
    return boundaries


@once_per_run
def first_candidate(server: Server) -> TokenBoundaries | None:
    return next(candidates(server), None)


def candidates(server: Server) -> Iterator[TokenBoundaries]:
    """Yield the texts to which each token adds at least one whole character."""
    for prompt in (PROMPT, *PROMPTS):
        choice = server.complete(prompt=prompt, max_tokens=NUM_TOKENS).choice
        if REPLACEMENT_CHARACTER in choice.text or choice.finish_reason != "length":
            continue
        bodies = [{"prompt": prompt, "max_tokens": count} for count in range(1, NUM_TOKENS)]
        prefixes = [completion.text for completion in server.complete_all(bodies)] + [choice.text]
        pairs = zip(["", *prefixes], prefixes, strict=False)
        if all(b.startswith(a) and len(b) > len(a) for a, b in pairs):
            yield TokenBoundaries(prompt, choice.text, tuple(map(len, prefixes)))
