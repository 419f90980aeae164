"""From an engine's events to what a client reads: text, log-probabilities, the reason of the end.

Every backend's tokens pass through here, streamed or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from reference.params import CompletionParams
from reference.request import ImageSpan, TokenGenerated, TokenLogprobs
from reference.stopping import StopStrings
from reference.tokenizer.detokenizer import Detokenizer, decode, without_bos
from reference.tokenizer.protocol import Tokenizer

LOWEST = -9999.0  # how −inf is written: JSON has no infinity


@dataclass(frozen=True)
class LogprobsEntry:
    """One token's row of `logprobs`. offset: characters from the start of the returned text."""

    token: str
    logprob: float | None
    top: dict[str, float] | None
    offset: int


@dataclass(frozen=True)
class TextDelta:
    """What one step adds to a choice. finish_reason is set on the last."""

    text: str
    entries: tuple[LogprobsEntry, ...] = ()
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class TokenDisplay:
    """How tokens are called in `logprobs`.

    Meaning:   a token is called by its text; by `bytes:\\xe2\\x82` if its bytes are no whole
               characters; by `token_id:<id>` if the request says `return_tokens_as_token_ids`.
    Boundary:  special tokens are called by their name (`</s>`).
    Ties:      of tokens with equal text in one `top_logprobs`, the chosen one keeps it, else the
               likeliest; the others are called `token_id:<id>`. None is lost.
    Off value: false.
    """

    def __init__(self, tokenizer: Tokenizer, *, as_ids: bool) -> None:
        self.tokenizer = tokenizer
        self.as_ids = as_ids

    def name(self, token: int) -> str:
        if self.as_ids or token >= self.tokenizer.vocab_size:
            return f"token_id:{token}"
        piece = self.tokenizer.piece(token)
        try:
            return piece.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)

    def top(self, report: TokenLogprobs) -> dict[str, float]:
        chosen = self.name(report.token)
        values: dict[str, float] = {}
        for token, value in report.top:
            name = self.name(token)
            taken = name in values or (name == chosen and token != report.token)
            values[f"token_id:{token}" if taken else name] = finite(value)
        return values

    def entry(self, token: int, report: TokenLogprobs | None, offset: int) -> LogprobsEntry:
        """A row; without a report (the first token of a prompt) it has no numbers."""
        if report is None:
            return LogprobsEntry(self.name(token), None, None, offset)
        return LogprobsEntry(self.name(token), finite(report.logprob), self.top(report), offset)


def finite(value: float) -> float:
    return max(value, LOWEST)


@dataclass
class StreamedChoice:
    """The text of one choice, from its tokens.

    Joined, the deltas are the same whether anybody streams them or not. A token's row rides with
    the delta that carries its first character, or with the last one; the rows of a matched stop
    string, of an end-of-sequence token and of an unfinished character are there, at the end of the
    text.

    start: the offset of the output in the returned text. at_start: whether the prompt has no text.
    """

    tokenizer: Tokenizer
    params: CompletionParams
    at_start: bool
    start: int = 0
    tokens: int = field(default=0, init=False)
    finished: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._names = token_display(self.tokenizer, self.params)
        self._detokenizer = Detokenizer(self.tokenizer, at_start=self.at_start)
        self._stops = StopStrings(self.params.stop)
        self._waiting: list[tuple[int, TokenGenerated]] = []
        self._released = 0

    def push(self, event: TokenGenerated) -> TextDelta:
        """What this token adds. Push nothing after a delta with a finish_reason."""
        self.tokens += 1
        self._waiting.append((self._detokenizer.length, event))
        text, stop = self._certain_text(event)
        self._released += len(text)
        reason = "stop" if stop is not None else event.finish_reason
        self.finished = reason is not None
        return TextDelta(text, self._entries(), reason, event.stop_reason if stop is None else stop)

    def _certain_text(self, event: TokenGenerated) -> tuple[str, str | None]:
        text = "" if event.finish_reason == "stop" else self._detokenizer.push(event.token)
        if event.finish_reason is not None:
            text += self._detokenizer.flush()
        text, stop = self._stops.push(text)
        if stop is None and event.finish_reason is not None:
            text += self._stops.flush()
        return text, stop

    def _entries(self) -> tuple[LogprobsEntry, ...]:
        ready = [w for w in self._waiting if self.finished or w[0] < self._released]
        self._waiting = self._waiting[len(ready) :]
        return tuple(
            self._names.entry(event.token, event.logprobs, self.start + min(offset, self._released))
            for offset, event in ready
            if event.logprobs is not None
        )


def token_display(tokenizer: Tokenizer, params: CompletionParams) -> TokenDisplay:
    return TokenDisplay(tokenizer, as_ids=bool(params.return_tokens_as_token_ids))


def start_choice(
    tokenizer: Tokenizer, params: CompletionParams, prompt: Sequence[int], prompt_text: str
) -> StreamedChoice:
    """An empty choice that continues a prompt."""
    at_start = not without_bos(tokenizer, prompt)
    return StreamedChoice(tokenizer, params, at_start, len(prompt_text) if params.echo else 0)


def prompt_text(tokenizer: Tokenizer, prompt: str | Sequence[int]) -> str:
    """The prompt as it was sent; of a list of ids, the text that `encode` would turn into them."""
    return prompt if isinstance(prompt, str) else decode(tokenizer, prompt)


def echo(
    tokenizer: Tokenizer,
    params: CompletionParams,
    prompt: Sequence[int],
    text: str,
    reports: Sequence[TokenLogprobs | None] | None,
    images: Sequence[ImageSpan] = (),
) -> TextDelta:
    """What `echo` puts before the output: the prompt and, with `logprobs`, a row for each of its
    tokens.

    Meaning:   the text is the prompt as sent, then the output.
    Boundary:  the first token has no log-probability: nothing comes before it. Nor has a place of
               an image; all places of one are at the offset of its placeholder.
    Off value: false or null.
    """
    names = token_display(tokenizer, params)
    position = Detokenizer(tokenizer, at_start=True)
    repeated = {i for placed in images for i in range(placed.start + 1, placed.stop)}
    entries = []
    offset = 0
    for i, (token, report) in enumerate(zip(prompt, reports or (), strict=False)):
        if i not in repeated:
            offset = min(position.length, len(text))
            if i > 0 or token != tokenizer.bos_id:
                position.push(token)
        entries.append(names.entry(token, report, offset))
    return TextDelta(text, tuple(entries))
