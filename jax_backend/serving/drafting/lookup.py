"""Prompt lookup: the guess that a text which repeats itself goes on doing so.

Source: Saxena 2023, "Prompt lookup decoding". The search is that of LZ77 with hash chains, as in
zlib (RFC 1951, section 4): for each token, a chain of its occurrences.
"""

from collections.abc import Iterable

MAX_CANDIDATES = 16  # occurrences of the last token that are compared
MAX_MATCH = 16  # tokens that are compared
RATE = 0.1  # weight of the last guess in an accuracy
PRIOR = 0.5  # accuracy before the first guess


class PromptLookup:
    """Guesses the next tokens of one sequence.

    tokens: those of the sequence so far; None for an image token, which no guess includes. source:
    the index of the token that is guessed to be next; None if there is no guess. accuracy: the
    share of guesses that came true, a moving average from 0 to 1.

    A guess that came true is continued with the token after it. After a wrong guess there are two
    candidates: what followed the longest match of the last tokens (of several, the last one), and
    the old source past its wrong token, as if only that one had been replaced: a record with
    another value. Both are compared with the next token, and the kind that was right more often is
    used.
    """

    def __init__(self) -> None:
        self.tokens: list[int | None] = []
        self.source: int | None = None
        self.accuracy = PRIOR
        self._latest: dict[int, int] = {}  # for each token, the index after its last occurrence
        self._previous: list[int] = []  # for each index, that after the occurrence before, or 0
        self._candidates: dict[str, int] = {}
        self._accuracies = {"match": PRIOR, "replaced": PRIOR}
        self._may_replace = False
        self._is_impossible = False

    def extend(self, tokens: Iterable[int | None]) -> None:
        """Append tokens, and compare each with the guess."""
        for token in tokens:
            self._append(token)

    def guess(self, count: int) -> list[int]:
        """Return up to `count` next tokens. A source that reaches the end of the tokens goes on
        with the guess: the text is periodic.
        """
        if self.source is None or self._is_impossible:
            return []
        period = len(self.tokens) - self.source
        guessed: list[int] = []
        for i in range(count):
            token = self.tokens[self.source + i % period]
            if token is None:
                break
            guessed.append(token)
        return guessed

    def reject(self) -> None:
        """Replace a guess that begins with an impossible token by another candidate, if there is
        one. The accuracy does not count an impossible guess.
        """
        if self.source is None:
            return
        impossible = self.tokens[self.source]
        self._candidates = {
            kind: source
            for kind, source in self._candidates.items()
            if self.tokens[source] != impossible
        }
        if self._candidates:
            self._choose()
        else:
            self._is_impossible = True

    def _append(self, token: int | None) -> None:
        for kind, source in self._candidates.items():
            came_true = self.tokens[source] == token
            self._accuracies[kind] += RATE * (came_true - self._accuracies[kind])
        self._candidates = {}
        replaced = None
        if self.source is not None:
            came_true = self.tokens[self.source] == token
            if not self._is_impossible:
                self.accuracy += RATE * (came_true - self.accuracy)
            replaced = self.source + 1 if self._may_replace or came_true else None
            self.source = self.source + 1 if came_true else None
            self._may_replace |= came_true
            self._is_impossible = False
        self.tokens.append(token)
        match = self._index(token)
        if token is None:
            self.source = None
        elif self.source is None:
            if match:
                self._candidates["match"] = self._longest_match(match)
            if replaced is not None and replaced != self._candidates.get("match"):
                self._candidates["replaced"] = replaced
            if self._candidates:
                self._choose()

    def _choose(self) -> None:
        """Take the kind of candidate that was right more often as the source."""
        kind = max(self._candidates, key=lambda kind: self._accuracies[kind])
        self.source, self._may_replace = self._candidates[kind], kind == "match"

    def _index(self, token: int | None) -> int:
        """Add the last token to its chain. Return the index after the occurrence before, or 0."""
        if token is None:
            self._previous.append(0)
            return 0
        previous = self._latest.get(token, 0)
        self._previous.append(previous)
        self._latest[token] = len(self.tokens)
        return previous

    def _longest_match(self, candidate: int) -> int:
        """Return the index after the longest match of the last tokens, from `candidate` on along
        the chain of the last one.
        """
        tokens, n = self.tokens, len(self.tokens)
        best, longest = candidate, 0
        for _ in range(MAX_CANDIDATES):
            length = 1
            limit = min(MAX_MATCH, candidate)
            while length < limit and tokens[candidate - 1 - length] == tokens[n - 1 - length]:
                length += 1
            if length > longest:
                best, longest = candidate, length
            candidate = self._previous[candidate - 1]
            if not candidate:
                break
        return best
