"""What the scheduler, the engine and the device speak of: a request on its way, its choices, and
what is to be done in one step. Plain Python.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reference.request import Event, Request, TokenLogprobs

if TYPE_CHECKING:
    from jax_backend.grammar.token_mask import Text


@dataclass(eq=False)
class Job:
    """A request on its way. cached: how many tokens of its prompt were known when it was first to
    be read, None before. announced: whether it has been read once. seen: rows of images, on the
    device, by where they start, for those who need them next.
    """

    request_id: int
    request: Request
    on_event: Callable[[Event], None]
    budget: int
    names: list[bytes]
    cached: int | None = None
    announced: bool = False
    choices: list["Choice"] = field(default_factory=list)
    seen: dict[int, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.request.prompt

    @property
    def ended(self) -> bool:
        return all(choice.ended for choice in self.choices)


@dataclass(eq=False)
class Choice:
    """One sequence of a job. tokens: its output so far, as far as the host has seen it.

    position: that of the token that it feeds next, in prompt and output. slot: where the device
    keeps what is its own, None while it is not in the batch. text: what follows the grammar that
    its output must keep to, None if there is none.
    """

    job: Job
    index: int
    tokens: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    position: int = 0
    slot: int | None = None
    ended: bool = False
    text: "Text | None" = None

    @property
    def fed_up(self) -> bool:
        """Whether the row that draws its last token has been planned."""
        return self.position + 1 - len(self.job.prompt) >= self.job.budget

    def next_input(self) -> int | None:
        """The token it feeds next; None: the one that the device has drawn last."""
        prompt, i = self.job.prompt, self.position - len(self.job.prompt)
        if i < 0:
            return prompt[self.position]
        return self.tokens[i] if i < len(self.tokens) else None


@dataclass(eq=False)
class Reading:
    """A prompt that is being read, for the choices that wait for it. position: the next token.

    reports: the prompt's log-probabilities, which the engine collects; None if nobody asked, or has
    them.
    """

    job: Job
    choices: list[Choice]
    pages: list[int] = field(default_factory=list)
    position: int = 0
    reports: list[TokenLogprobs | None] | None = None

    @property
    def end(self) -> int:
        return len(self.job.prompt) - 1


@dataclass(frozen=True)
class Chunk:
    """Prompt tokens start … start + count − 1, of which the first `skip` are in `pages` already, to
    read into `pages`. size: how many places the device's computation has for them.
    """

    reading: Reading
    start: int
    skip: int
    count: int
    size: int
    pages: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One choice feeds one token. token: None is the one that the device drew last for the slot.

    drawn: how many tokens the choice has generated when this row begins.
    """

    choice: Choice
    slot: int
    position: int
    token: int | None
    pages: tuple[int, ...]

    @property
    def drawn(self) -> int:
        return self.position + 1 - len(self.choice.job.prompt)

    @property
    def wanted(self) -> bool:
        """Whether what it draws is new, and of use to anybody."""
        return not self.choice.ended and self.drawn >= len(self.choice.tokens)


@dataclass(frozen=True)
class Plan:
    """In this order: read a chunk; announce that a prompt has been read for the first time; copy
    pages; set up slots; feed the rows.
    """

    chunk: Chunk | None
    announced: Reading | None
    copies: tuple[tuple[int, int], ...]
    admitted: tuple[Choice, ...]
    rows: tuple[Row, ...]

    def __bool__(self) -> bool:
        return bool(self.chunk or self.announced or self.rows)

    @property
    def follows_grammars(self) -> bool:
        return any(row.choice.text is not None for row in self.rows)


def finish(choice: Choice, eos_token_ids: frozenset[int]) -> tuple[str | None, int | None]:
    """(finish_reason, stop_reason) of a choice after its last token; (None, None) to go on."""
    token = choice.tokens[-1]
    if token in eos_token_ids:
        return "stop", None
    if token in choice.job.request.params.stop_token_ids:
        return "stop", token
    return ("length" if len(choice.tokens) >= choice.job.budget else None), None
