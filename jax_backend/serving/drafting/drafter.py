"""Drafts by prompt lookup, for all running sequences."""

from collections.abc import Callable, Collection
from weakref import WeakKeyDictionary

from jax_backend.serving.drafting.lookup import PromptLookup
from jax_backend.serving.drafting.policy import Guess, LaunchCosts, draft_lengths
from jax_backend.serving.scheduling.plan import Sequence

MAX_TOKENS_PER_STEP = 512  # that are added to lookups, in a millisecond or two
MAX_PAUSE = 64  # steps


class LookupDrafter:
    """Proposes what followed the last tokens of a sequence before (`PromptLookup`), as far as it is
    expected to make the step faster (`policy`).

    batch_sizes: compiled ones, ascending. excluded: ids that are never sampled or that end a
    sequence. num_allowed: returns how many tokens of a draft the grammar of a sequence allows.

    Guesses are compared with the output also while there are no drafts, at no cost on the device.
    So a sequence starts to use drafts when they would have been accepted, and stops when they are
    not. Waiting for a token in vain is followed by a pause, which doubles each time.
    """

    def __init__(
        self,
        batch_sizes: tuple[int, ...],
        costs: LaunchCosts,
        excluded: Collection[int],
        num_allowed: Callable[[Sequence, list[int]], int],
    ) -> None:
        self.batch_sizes, self.costs = batch_sizes, costs
        self.excluded, self.num_allowed = frozenset(excluded), num_allowed
        self._lookups: WeakKeyDictionary[Sequence, PromptLookup] = WeakKeyDictionary()
        self._pause, self._steps_to_pause, self._has_waited = 1, 0, False

    def should_wait(self, sequences: list[Sequence]) -> bool:
        """Return whether drafts after the tokens in flight are expected to be worth the wait."""
        if self._steps_to_pause:
            self._steps_to_pause -= 1
            return False
        guesses = {s: self._guess(s, s.num_unread) for s in self._known(sequences)}
        self._has_waited = bool(self._drafts(guesses, len(sequences)))
        return self._has_waited

    def drafts(self, sequences: list[Sequence]) -> dict[Sequence, list[int]]:
        """Return the drafts of sequences without a token in flight."""
        guesses = {}
        for sequence in self._known(sequences):
            if not sequence.num_unread:
                guesses[sequence] = self._allowed_guess(sequence)
        drafts = self._drafts(guesses, len(sequences))
        if drafts:
            self._pause = 1
        elif self._has_waited:
            self._steps_to_pause, self._pause = self._pause, min(2 * self._pause, MAX_PAUSE)
        self._has_waited = False
        return drafts

    def _drafts(self, guesses: dict[Sequence, list[int]], rows: int) -> dict[Sequence, list[int]]:
        """Cut the guesses to the lengths that are worth their rows."""
        sized = [
            Guess(self._lookups[s].accuracy, len(guess), s.num_unread)
            for s, guess in guesses.items()
        ]
        if not any(guess.length for guess in sized):
            return {}
        lengths = draft_lengths(sized, rows, self.batch_sizes, self.costs)
        pairs = zip(guesses.items(), lengths, strict=True)
        return {sequence: guess[:length] for (sequence, guess), length in pairs if length}

    def _known(self, sequences: list[Sequence]) -> list[Sequence]:
        """Add the new tokens of sequences to their lookups. Return those whose lookup is complete,
        and whose output is not being recomputed.
        """
        budget, known = MAX_TOKENS_PER_STEP, []
        for sequence in sequences:
            if sequence not in self._lookups:
                self._lookups[sequence] = PromptLookup()
            lookup, prompt = self._lookups[sequence], sequence.state.prompt
            missing = len(prompt) + len(sequence.tokens) - len(lookup.tokens)
            if missing > 0 and budget > 0:
                lookup.extend(tokens_from(sequence, len(lookup.tokens), min(missing, budget)))
                budget -= min(missing, budget)
                missing = len(prompt) + len(sequence.tokens) - len(lookup.tokens)
            if not missing and sequence.num_unread >= 0:
                known.append(sequence)
        return known

    def _allowed_guess(self, sequence: Sequence) -> list[int]:
        """Return the guess of the next tokens, as far as the grammar allows it."""
        while guess := self._guess(sequence, 0):
            if allowed := self.num_allowed(sequence, guess):
                return guess[:allowed]
            self._lookups[sequence].reject()
        return []

    def _guess(self, sequence: Sequence, unread: int) -> list[int]:
        """Return the guess of the tokens after `unread` more, without those that cannot be sampled
        and continued.
        """
        free = self.batch_sizes[-1] - 1
        limit = min(free, sequence.state.budget - len(sequence.tokens) - 1 - unread)
        guess = self._lookups[sequence].guess(max(0, limit) + unread)
        stops = sequence.state.request.params.stop_token_ids
        ends = (i for i, token in enumerate(guess) if token in self.excluded or token in stops)
        return guess[: next(ends, len(guess))][unread:]


def tokens_from(sequence: Sequence, start: int, count: int) -> list[int | None]:
    """Return `count` tokens of prompt and output, with None for image tokens."""
    request, prompt = sequence.state.request, sequence.state.prompt
    first, stop = max(0, start - len(prompt)), max(0, start + count - len(prompt))
    tokens: list[int | None] = [*prompt[start : start + count], *sequence.tokens[first:stop]]
    for span in request.images_within(start, start + count):
        for position in range(max(span.start, start), min(span.stop, start + count)):
            tokens[position - start] = None
    return tokens
