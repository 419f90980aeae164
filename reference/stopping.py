"""When a choice ends, and why."""

from collections.abc import Sequence

from reference.params import DEFAULT_MAX_TOKENS


class ContextLengthExceeded(ValueError):
    """The prompt leaves no room for a token."""


def token_budget(max_tokens: int | None, context: int, prompt_length: int) -> int:
    """How many tokens a choice may have.

    Meaning:   `max_tokens`, or 16384 if null, and never more than the context has left.
    Boundary:  a prompt that leaves no room for one token raises ContextLengthExceeded.
    Off value: null.
    """
    room = context - prompt_length
    if room < 1:
        raise ContextLengthExceeded(
            f"the prompt has {prompt_length} tokens and the context {context}: "
            "no room is left for a token of output"
        )
    return min(DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens, room)


def finish(
    token: int,
    generated: int,
    budget: int,
    eos_token_ids: Sequence[int],
    stop_token_ids: Sequence[int],
) -> tuple[str | None, int | None]:
    """(finish_reason, stop_reason) after `token`, the `generated`-th of its choice; (None, None) to
    go on.

    Meaning:   end-of-sequence and the ids of `stop_token_ids` end a choice; the token counts, and
               is no text.
    Boundary:  on the last token of the budget, "stop" beats "length".
    Ties:      end-of-sequence beats a stop id, so the reason of an end-of-sequence token is null.
    Off value: no stop ids.
    """
    if token in eos_token_ids:
        return "stop", None
    if token in stop_token_ids:
        return "stop", token
    return ("length", None) if generated >= budget else (None, None)


class StopStrings:
    """Finds the first stop string in a text that arrives in parts.

    Meaning:   the text ends before the match. It is looked for in the output only, across the
               borders of tokens.
    Boundary:  what is withheld is the longest suffix that is the beginning of some stop string,
               never more.
    Ties:      the match that *completes* first wins; of those that complete together, the first in
               the list.
    Off value: no strings.

    With stops ["b.", "ab"], "xab." arriving as "xa", "b." gives "x" and then the match "ab".
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.held = ""

    def push(self, text: str) -> tuple[str, str | None]:
        """The text that is now certain, and the stop string if one is complete. Push nothing after
        that.
        """
        text = self.held + text
        ends = [(text.find(s) + len(s), i) for i, s in enumerate(self.stops) if s in text]
        if ends:
            end, first = min(ends)
            stop = self.stops[first]
            self.held = ""
            return text[: end - len(stop)], stop
        keep = max((beginning(text, s) for s in self.stops), default=0)
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep], None

    def flush(self) -> str:
        """What was withheld: the choice ended without completing a match."""
        held, self.held = self.held, ""
        return held


def beginning(text: str, stop: str) -> int:
    """The length of the longest suffix of `text` that is a proper prefix of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
