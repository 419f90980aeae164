"""The end of a choice: token budget, finish reasons, stop strings."""

from collections.abc import Sequence
from dataclasses import replace

from reference.params import DEFAULT_MAX_TOKENS, CompletionParams
from reference.tokenizer.vocabulary import Vocabulary


class ContextLengthExceeded(ValueError):
    """The prompt leaves no room for a token of output."""


def token_budget(max_tokens: int | None, context: int, prompt_length: int) -> int:
    """Return the maximum number of tokens of one choice.

    Meaning:   the smaller of `max_tokens` (16384 if null) and what the context has left.
    Boundary:  a prompt that leaves no room for one token raises ContextLengthExceeded.
    Off value: null.
    Example:   after 90 of 100 tokens, 10 are left.
               >>> token_budget(5, context=100, prompt_length=90)
               5
               >>> token_budget(50, context=100, prompt_length=90)
               10
    """
    room = context - prompt_length
    if room < 1:
        raise ContextLengthExceeded(
            f"the prompt has {prompt_length} tokens; the maximum context length is {context}, "
            "which leaves no room for output"
        )
    return min(DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens, room)


def finish(
    token: int,
    generated: int,
    budget: int,
    eos_token_ids: Sequence[int],
    stop_token_ids: Sequence[int],
) -> tuple[str | None, int | None]:
    """Return (finish_reason, stop_reason) after a token; (None, None) to continue.

    generated: the number of tokens of the choice, this one included.

    Meaning:   end-of-sequence and the ids of `stop_token_ids` end a choice; the token counts, and
               is not part of the text.
    Boundary:  on the last token of the budget, "stop" takes precedence over "length".
    Ties:      an id that is both is end-of-sequence, whose stop_reason is null.
    Off value: no stop ids.
    Example:   token 7 is a stop id, token 8 is not; the budget is 5.
               >>> finish(7, generated=3, budget=5, eos_token_ids=[2], stop_token_ids=[7])
               ('stop', 7)
               >>> finish(8, generated=5, budget=5, eos_token_ids=[2], stop_token_ids=[7])
               ('length', None)
    """
    if token in eos_token_ids:
        return "stop", None
    if token in stop_token_ids:
        return "stop", token
    return ("length", None) if generated >= budget else (None, None)


def resolve_stop_strings(params: CompletionParams, vocabulary: Vocabulary) -> CompletionParams:
    """Return the parameters for an engine, which has ids only: a stop string that is exactly the
    text of a special token becomes a stop token id.

    Such a token has no text in the output, where `StopStrings` could find it. Several tokens with
    this text all count. The text of an ordinary token is in the output.
    """
    named = (i for stop in params.stop for i in vocabulary.special_names.get(stop, ()))
    return replace(params, stop_token_ids=tuple(dict.fromkeys((*params.stop_token_ids, *named))))


class StopStrings:
    """Search for the first stop string in a text that arrives in parts.

    Meaning:   the text ends before the match. Only the output is searched, across token
               boundaries.
    Boundary:  the withheld text is the longest suffix that is a proper prefix of a stop string. A
               string that is exactly the text of a special token is also a stop token id
               (`resolve_stop_strings`).
    Ties:      the match that *completes* first wins; of those that complete together, the first in
               the list. A token that is end-of-sequence, or in `stop_token_ids`, is reported as
               that, not as a string.
    Off value: no strings.
    Example:   "x" is safe to emit, "a" may become "ab"; the next part completes "ab".
               >>> stops = StopStrings(["b.", "ab"])
               >>> stops.push("xa")
               ('x', None)
               >>> stops.push("b.")
               ('', 'ab')
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stops)
        self.withheld = ""

    def push(self, text: str) -> tuple[str, str | None]:
        """Return the text that is safe to emit, and the stop string if one is complete.

        Must not be called after a match.
        """
        if not self.stops:
            return text, None
        text = self.withheld + text
        matches = [(text.find(s) + len(s), i) for i, s in enumerate(self.stops) if s in text]
        if matches:
            end, index = min(matches)
            stop = self.stops[index]
            self.withheld = ""
            return text[: end - len(stop)], stop
        keep = max((partial_match_length(text, s) for s in self.stops), default=0)
        self.withheld = text[len(text) - keep :]
        return text[: len(text) - keep], None

    def flush(self) -> str:
        """Return the withheld text, when the choice has ended without a match."""
        withheld, self.withheld = self.withheld, ""
        return withheld


def partial_match_length(text: str, stop: str) -> int:
    """Return the length of the longest suffix of `text` that is a proper prefix of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
