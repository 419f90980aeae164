"""The plan of one step: the data that scheduler, engine and executor exchange. Plain Python."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from reference.request import Event, Request, TokenLogprobs


@dataclass(eq=False)
class RequestState:
    """A request that the engine has accepted.

    budget: maximum number of output tokens of each sequence. block_hashes: one for each page that
    prefill fills. arrival_time, start_time: when the request was queued and when its first prefill
    started, in seconds of `time.monotonic`. start_order: how many requests started before it.
    cached_tokens: prefix-cache hit of the first prefill. The last three are None before it starts.
    prompt_reported: whether the first prefill has completed.
    """

    request_id: int
    request: Request
    on_event: Callable[[Event], None]
    budget: int
    block_hashes: list[bytes]
    arrival_time: float = field(default_factory=time.monotonic)
    start_time: float | None = None
    start_order: int | None = None
    cached_tokens: int | None = None
    prompt_reported: bool = False
    sequences: list["Sequence"] = field(default_factory=list)
    prompt_length: int = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_length = len(self.request.prompt)

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.request.prompt

    @property
    def finished(self) -> bool:
        return all(sequence.finished for sequence in self.sequences)


@dataclass(eq=False)
class Sequence:
    """One of the `n` choices of a request.

    tokens: the output that the host has received. position: that of its next input token, in prompt
    and output. slot: its batch slot on the device, None while it is not in the batch.
    """

    state: RequestState
    index: int
    tokens: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    position: int = 0
    slot: int | None = None
    finished: bool = False

    @property
    def is_fully_scheduled(self) -> bool:
        """Return whether the row that samples its last token has been scheduled."""
        return self.position + 1 - self.state.prompt_length >= self.state.budget

    @property
    def is_constrained(self) -> bool:
        """Return whether a grammar constrains its output."""
        return self.state.request.language is not None

    @property
    def num_unread(self) -> int:
        """Return how many tokens are sampled, or about to be, that the host has not received.
        Negative while its output is recomputed.
        """
        return self.position + 1 - len(self.state.prompt) - len(self.tokens)

    def next_input(self) -> int | None:
        """Return the next input token; None if it is the last sampled one, which only the device
        has yet.
        """
        i = self.position - self.state.prompt_length
        if i < 0:
            return self.state.prompt[self.position]
        return self.tokens[i] if i < len(self.tokens) else None


@dataclass(eq=False)
class Prefill:
    """A prompt in prefill, for the sequences that wait for it.

    position: that of the next token to process. prompt_logprobs: filled by the engine; None if the
    request does not ask for them or has them already.
    """

    state: RequestState
    sequences: list[Sequence]
    pages: list[int] = field(default_factory=list)
    position: int = 0
    prompt_logprobs: list[TokenLogprobs | None] | None = None

    @property
    def end(self) -> int:
        """Return the number of tokens to process: the last prompt token is left to decode."""
        return len(self.state.prompt) - 1

    @property
    def is_incomplete(self) -> bool:
        return self.position < self.end


def num_pending(prefills: Iterable[Prefill]) -> int:
    """Return how many sequences wait for some prefills."""
    return sum(len(prefill.sequences) for prefill in prefills)


@dataclass(frozen=True)
class PrefillSegment:
    """Prompt tokens start … start + num_tokens − 1, to be written to `pages`.

    index: the place of the segment in its launch.
    """

    prefill: Prefill
    index: int
    start: int
    num_tokens: int
    pages: tuple[int, ...]


@dataclass(frozen=True)
class DecodeRow:
    """One row of the decode batch: a sequence and its input token. token: None for the token that
    the device sampled last in the slot. is_draft: the token is a guess (`drafting`): the row counts
    only if the row before it, of the same sequence, counts and samples this token.
    """

    sequence: Sequence
    slot: int
    position: int
    token: int | None
    pages: tuple[int, ...]
    is_draft: bool = False

    @property
    def num_generated(self) -> int:
        """Return how many tokens the sequence has generated before this row."""
        return self.position + 1 - self.sequence.state.prompt_length

    @property
    def is_needed(self) -> bool:
        """Return whether the sampled token is new: not recomputed, nor of a finished sequence."""
        return not self.sequence.finished and self.num_generated >= len(self.sequence.tokens)


@dataclass(frozen=True)
class StepPlan:
    """The work of one step, in the order of execution: set up slots, prefill the segments, report
    the prompts whose first prefill is complete, copy pages, decode the rows.

    num_segments: the compiled size of the prefill launch, in segments. is_mixed: whether the rows
    are decoded by the prefill launch, before the pages are copied.
    """

    segments: tuple[PrefillSegment, ...] = ()
    num_segments: int = 0
    completed: tuple[Prefill, ...] = ()
    page_copies: tuple[tuple[int, int], ...] = ()
    admitted: tuple[Sequence, ...] = ()
    rows: tuple[DecodeRow, ...] = ()
    is_mixed: bool = False

    def __bool__(self) -> bool:
        return bool(self.segments or self.completed or self.admitted or self.rows)

    @property
    def needs_masks(self) -> bool:
        return any(row.sequence.is_constrained for row in self.rows)

    @property
    def has_drafts(self) -> bool:
        """Return whether the next positions depend on the tokens that this step samples."""
        return any(row.is_draft for row in self.rows)
