"""From an engine's events to the response: text, log-probabilities, finish reason.

The tokens of every backend pass through here, streamed or not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from reference.params import CompletionParams
from reference.request import ImageSpan, TokenGenerated, TokenLogprobs
from reference.stopping import StopStrings
from reference.tokenizer.detokenizer import Detokenizer, decode, token_offsets
from reference.tokenizer.protocol import Tokenizer

MIN_LOGPROB = -9999.0  # written for −inf: JSON has no infinity


@dataclass(frozen=True)
class LogprobsEntry:
    """One token's entry in `logprobs`. offset: characters from the start of the returned text."""

    token: str
    logprob: float | None
    top: dict[str, float] | None
    offset: int


@dataclass(frozen=True)
class TextDelta:
    """The text and entries that one step adds to a choice. finish_reason is set on the last."""

    text: str
    entries: tuple[LogprobsEntry, ...] = ()
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class TokenDisplay:
    """The strings that represent tokens in `logprobs`.

    Meaning:   the text of the token; `bytes:\\xe2\\x82` if its bytes are not complete characters;
               `token_id:<id>` if the request has `return_tokens_as_token_ids`.
    Boundary:  a special token is represented by its name (`</s>`).
    Ties:      of tokens with equal text in one `top_logprobs`, the sampled one keeps the text, else
               the most likely one; the others become `token_id:<id>`. None is lost.
    Off value: false.
    Example:   the token "The" of the embedded model, as text and as an id.
               >>> from reference.bundle import EMBEDDED
               >>> from reference.tokenizer.loader import load_tokenizer
               >>> tokenizer = load_tokenizer(EMBEDDED / "text")
               >>> TokenDisplay(tokenizer, as_ids=False).name(tokenizer.encode("The")[-1])
               ' The'
               >>> TokenDisplay(tokenizer, as_ids=True).name(5)
               'token_id:5'
    """

    def __init__(self, tokenizer: Tokenizer, *, as_ids: bool) -> None:
        self.tokenizer = tokenizer
        self.as_ids = as_ids

    def name(self, token: int) -> str:
        """Return the string of one token, which another token may share."""
        if self.as_ids or token >= self.tokenizer.vocab_size:
            return f"token_id:{token}"
        piece = self.tokenizer.token_bytes(token)
        try:
            return piece.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)

    def top(self, logprobs: TokenLogprobs) -> dict[str, float]:
        """Return one position of `top_logprobs`, with unique strings."""
        sampled = self.name(logprobs.token)
        values: dict[str, float] = {}
        for token, value in logprobs.top:
            name = self.name(token)
            is_duplicate = name in values or (name == sampled and token != logprobs.token)
            values[f"token_id:{token}" if is_duplicate else name] = clamp_logprob(value)
        return values

    def entry(self, token: int, logprobs: TokenLogprobs | None, offset: int) -> LogprobsEntry:
        """Return an entry, without numbers if the token has no logprobs (a prompt's first)."""
        if logprobs is None:
            return LogprobsEntry(self.name(token), None, None, offset)
        value = clamp_logprob(logprobs.logprob)
        return LogprobsEntry(self.name(token), value, self.top(logprobs), offset)


def clamp_logprob(value: float) -> float:
    return max(value, MIN_LOGPROB)


@dataclass
class StreamedChoice:
    """Incremental detokenizer of one choice: tokens in, text deltas out.

    Meaning:   the joined deltas are the text of the choice, streamed or not.
    Boundary:  a token's entry is in the delta that has its first character, or in the last delta.
               Tokens without text (of a matched stop string, end-of-sequence, an incomplete
               character) have their entries at the end of the text.
    Off value: stream = false: the same deltas, joined.
    Example:   of " red" the "d" is withheld: with " ball" it completes the stop string "d b".
               >>> from reference.bundle import EMBEDDED
               >>> from reference.tokenizer.loader import load_tokenizer
               >>> tokenizer = load_tokenizer(EMBEDDED / "text")
               >>> bos, red, ball = tokenizer.encode("red ball")
               >>> choice = start_choice(tokenizer, CompletionParams(stop=("d b",)), [red], "red")
               >>> [choice.push(TokenGenerated(choice=0, token=t)).text for t in (red, ball)]
               [' re', '']
               >>> choice.finished
               True

    params: as sent by the client, without the stop token ids that its stop strings name. prompt:
    its token ids. start: offset of the output in the returned text.
    """

    tokenizer: Tokenizer
    params: CompletionParams
    prompt: Sequence[int]
    start: int = 0
    tokens: int = field(default=0, init=False)
    finished: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._display = token_display(self.tokenizer, self.params)
        self._detokenizer = Detokenizer(self.tokenizer, self.prompt)
        self._stops = StopStrings(self.params.stop)
        self._pending: list[tuple[int, TokenGenerated]] = []  # (offset, event) of entries to come
        self._emitted_chars = 0

    def push(self, event: TokenGenerated) -> TextDelta:
        """Return the delta of this token. Must not be called after a finish_reason."""
        self.tokens += 1
        if event.logprobs is not None:
            self._pending.append((self._detokenizer.length, event))
        text, stop = self._emittable_text(event)
        self._emitted_chars += len(text)
        reason = "stop" if stop is not None else event.finish_reason
        self.finished = reason is not None
        return TextDelta(
            text, self._entries(), reason, self._stop_reason(event) if stop is None else stop
        )

    def _stop_reason(self, event: TokenGenerated) -> str | int | None:
        """Return the stop token id that ended the choice, or the stop string that names it."""
        token = event.stop_reason
        if token is None or token in self.params.stop_token_ids:
            return token
        return self.tokenizer.token_bytes(token).decode()

    def _emittable_text(self, event: TokenGenerated) -> tuple[str, str | None]:
        # The token of a "stop" is end-of-sequence or a stop id: it is not part of the text.
        text = "" if event.finish_reason == "stop" else self._detokenizer.push(event.token)
        if event.finish_reason is not None:
            text += self._detokenizer.flush()
        text, stop = self._stops.push(text)
        if stop is None and event.finish_reason is not None:
            text += self._stops.flush()
        return text, stop

    def _entries(self) -> tuple[LogprobsEntry, ...]:
        ready = [p for p in self._pending if self.finished or p[0] < self._emitted_chars]
        self._pending = self._pending[len(ready) :]
        end = self._emitted_chars
        return tuple(
            self._display.entry(event.token, event.logprobs, self.start + min(offset, end))
            for offset, event in ready
        )


def token_display(tokenizer: Tokenizer, params: CompletionParams) -> TokenDisplay:
    return TokenDisplay(tokenizer, as_ids=bool(params.return_tokens_as_token_ids))


def start_choice(
    tokenizer: Tokenizer, params: CompletionParams, prompt: Sequence[int], prompt_text: str
) -> StreamedChoice:
    """Return an empty choice that continues a prompt."""
    return StreamedChoice(tokenizer, params, prompt, len(prompt_text) if params.echo else 0)


def prompt_text(tokenizer: Tokenizer, prompt: str | Sequence[int]) -> str:
    """Return the prompt as sent; for a list of ids, their text without a leading BOS."""
    return prompt if isinstance(prompt, str) else decode(tokenizer, prompt)


def echo(
    tokenizer: Tokenizer,
    params: CompletionParams,
    prompt: Sequence[int],
    text: str,
    prompt_logprobs: Sequence[TokenLogprobs | None] | None,
    images: Sequence[ImageSpan] = (),
) -> TextDelta:
    """Return the prompt as a delta, with one entry for each of its tokens if `logprobs` is set.

    Meaning:   the text is the prompt as sent, then the output.
    Boundary:  the first token has no log-probability, and neither have image positions. All
               positions of an image have the offset of its placeholder.
    Off value: false or null.
    Example:   the prompt "red ball" has three tokens, the first of which has no text.
               >>> from reference.bundle import EMBEDDED
               >>> from reference.tokenizer.loader import load_tokenizer
               >>> tokenizer = load_tokenizer(EMBEDDED / "text")
               >>> ids = tokenizer.encode("red ball")
               >>> logprobs = [None, *(TokenLogprobs(i, -1.0, ()) for i in ids[1:])]
               >>> delta = echo(tokenizer, CompletionParams(), ids, "red ball", logprobs)
               >>> (delta.text, [(e.token, e.offset) for e in delta.entries])
               ('red ball', [('<s>', 0), (' red', 0), (' ball', 3)])
    """
    entries = echo_entries(tokenizer, params, prompt, text, prompt_logprobs, images)
    return TextDelta(text, tuple(entries))


def echo_entries(
    tokenizer: Tokenizer,
    params: CompletionParams,
    prompt: Sequence[int],
    text: str,
    prompt_logprobs: Sequence[TokenLogprobs | None] | None,
    images: Sequence[ImageSpan] = (),
) -> Iterator[LogprobsEntry]:
    """Yield the entries of `echo`, one by one: those of a long prompt take much memory."""
    if prompt_logprobs is None:
        return
    display = token_display(tokenizer, params)
    # Only the first position of an image is the placeholder that was sent.
    repeated = {i for span in images for i in range(span.start + 1, span.stop)}
    sent = [token for i, token in enumerate(prompt) if i not in repeated]
    offsets = token_offsets(tokenizer, sent, text)
    index = accumulate(i not in repeated for i in range(len(prompt)))
    for token, logprobs, i in zip(prompt, prompt_logprobs, index, strict=True):
        yield display.entry(token, logprobs, offsets[i - 1])
