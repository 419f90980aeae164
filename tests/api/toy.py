"""An engine and a tokenizer whose every answer can be worked out by hand.

Tokens: 0 is `<s>`, 1 is `</s>`; then comes a row of letters, a … z (2 … 27), and a row of what is
hard (28 … 35): `0`, the three bytes of `€`, ` yes`, a second `a`, a byte that is no UTF-8, `!`;
then `~` (36) and the 256 bytes (37 …). The model has a few more ids than the tokenizer, as real
ones do.

After a token comes the one `stride` further in its row, and past the end of a row `</s>`; after `~`
comes `~`; after anything else `a`. The stride is 1 when greedy, else 1 + (seed + choice) mod 3.

    prompt "w", temperature 0     x y z </s>                 "xyz"
    prompt "w", seed 1, choice 0  y </s>                     "y"
    prompt "0", temperature 0     E2 82 AC " yes" a FF ! </s>   "€ yesa\\ufffd!"

The token that is drawn has log-probability −0.25; the others in the order of their ids −0.5, −1,
−1.5, and then −inf. Every job takes one step a round, and every choice of a job one token a step.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from api.engine import Served
from reference.request import (
    EngineStats,
    Event,
    PromptProcessed,
    Request,
    RequestFinished,
    TokenGenerated,
    TokenLogprobs,
)
from reference.stopping import finish, token_budget

BOS, EOS = 0, 1
LETTERS, HARD = range(2, 28), range(28, 36)
LOOP = 36
BYTES = 37
PIECES = [
    b"<s>",
    b"</s>",
    *(bytes([c]) for c in b"abcdefghijklmnopqrstuvwxyz0"),
    *(b"\xe2", b"\x82", b"\xac", b" yes", b"a", b"\xff", b"!", b"~"),
    *(bytes([b]) for b in range(256)),
]
IDS = {piece: i for i, piece in reversed([*enumerate(PIECES[:BYTES])]) if len(piece) == 1}
VOCABULARY = len(PIECES) + 7
CONTEXT = 100
BLOCK = 4


class ToyTokenizer:
    """A token for each byte: the letters' own, and otherwise one of the 256."""

    vocab_size = len(PIECES)
    special_ids = frozenset({BOS, EOS})
    most_bytes = 1
    leading_space = False

    def __init__(self, bos_id: int | None = BOS) -> None:
        self.bos_id = bos_id

    def encode(self, text: str) -> list[int]:
        ids = [] if self.bos_id is None else [self.bos_id]
        return ids + [
            IDS.get(bytes([b]), BYTES + b) if b < 128 else BYTES + b for b in text.encode()
        ]

    def piece(self, token: int) -> bytes:
        return PIECES[token]


def following(token: int, stride: int) -> int:
    """The token after a token."""
    if token == LOOP:
        return LOOP
    for row in LETTERS, HARD:
        if token in row:
            return token + stride if token + stride in row else EOS
    return LETTERS[0]


def stride(request: Request, choice: int) -> int:
    return 1 if request.params.temperature == 0 else 1 + (request.seed + choice) % 3


def report(token: int, top: int | None) -> TokenLogprobs | None:
    """The drawn token, then the other ids from `a` on."""
    if top is None:
        return None
    others = [i for i in range(LETTERS[0], VOCABULARY) if i != token]
    values = [-0.5, -1.0, -1.5] + [-math.inf] * len(others)
    ranked = [(token, -0.25), *zip(others, values, strict=False)]
    return TokenLogprobs(token, -0.25, tuple(ranked[: max(top, 1)]))


def choice_tokens(request: Request, choice: int) -> Iterator[TokenGenerated]:
    """The tokens of one choice, whoever asks for them when."""
    params, token = request.params, request.prompt[-1]
    budget = token_budget(params.max_tokens, CONTEXT, len(request.prompt))
    reason = None
    for generated in range(1, budget + 1):
        token = following(token, stride(request, choice))
        reason, stop = finish(token, generated, budget, [EOS], params.stop_token_ids)
        yield TokenGenerated(
            choice=choice,
            token=token,
            logprobs=report(token, params.logprobs),
            finish_reason=reason,
            stop_reason=stop,
        )
        if reason is not None:
            return


@dataclass
class Job:
    request: Request
    on_event: Callable[[Event], None]
    choices: dict[int, Iterator[TokenGenerated]] | None = None
    unwanted: set[int | None] = field(default_factory=set)


class ToyEngine:
    """pause: seconds between two rounds. fail_after: rounds after which a job fails. mute: whether
    it takes jobs and does nothing.
    """

    def __init__(self, pause: float = 0, fail_after: int | None = None, mute: bool = False) -> None:
        self.pause, self.fail_after, self.mute = pause, fail_after, mute
        self.healthy = True
        self.steps: Counter[int] = Counter()
        self.tokens: Counter[int] = Counter()
        self.requests: list[Request] = []
        self._read: dict[tuple[str, str | None], set[tuple[int, ...]]] = {}
        self._jobs: dict[int, Job] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        with self._wake:
            self.requests.append(request)
            request_id = len(self.requests)
            if not self._closed:
                self._jobs[request_id] = Job(request, on_event)
                self._wake.notify()
                return request_id
        on_event(RequestFinished(error=RuntimeError("the toy was closed")))
        return request_id

    def abort(self, request_id: int, choice: int | None = None) -> None:
        with self._wake:
            if request_id in self._jobs:
                self._jobs[request_id].unwanted.add(choice)

    def stats(self) -> EngineStats:
        return EngineStats(self.healthy, len(self._jobs), 0)

    def close(self) -> None:
        with self._wake:
            self._closed, self.healthy = True, False
            self._wake.notify()
        self._thread.join()
        for request_id in [*self._jobs]:
            self._jobs.pop(request_id).on_event(
                RequestFinished(error=RuntimeError("the toy was closed"))
            )

    @property
    def idle(self) -> bool:
        return not self._jobs

    def _work(self) -> None:
        while not self._closed:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or (self._jobs and not self.mute))
                jobs = dict(self._jobs)
            for request_id, job in jobs.items():
                events = self._step(request_id, job)
                if events and isinstance(events[-1], RequestFinished):
                    with self._wake:
                        del self._jobs[request_id]
                for event in events:
                    job.on_event(event)
            time.sleep(self.pause)

    def _step(self, request_id: int, job: Job) -> list[Event]:
        self.steps[request_id] += 1
        if self.fail_after is not None and self.steps[request_id] > self.fail_after:
            return [RequestFinished(error=RuntimeError("a secret of the engine"))]
        if job.choices is None:
            job.choices = {i: choice_tokens(job.request, i) for i in range(job.request.params.n)}
            return [self._prompt(job.request)]
        events: list[Event] = []
        for i, tokens in [*job.choices.items()]:
            token = None if job.unwanted & {i, None} else next(tokens)
            events += [] if token is None else [token]
            self.tokens[request_id] += token is not None
            if token is None or token.finish_reason is not None:
                del job.choices[i]
        return events if job.choices else [*events, RequestFinished()]

    def _prompt(self, request: Request) -> PromptProcessed:
        """Blocks of four tokens that one principal sent before under one key are cached."""
        read = self._read.setdefault((request.principal, request.params.prompt_cache_key), set())
        prefixes = [request.prompt[:end] for end in range(BLOCK, len(request.prompt) + 1, BLOCK)]
        cached = sum(prefix in read for prefix in prefixes)
        read.update(prefixes)
        reports: tuple[TokenLogprobs | None, ...] | None = None
        if request.reports_prompt:
            rest = (report(token, request.params.logprobs) for token in request.prompt[1:])
            reports = (None, *rest)
        return PromptProcessed(cached_tokens=cached * BLOCK, prompt_logprobs=reports)


def toy(
    engine: ToyEngine | None = None, name: str = "toy", tokenizer: ToyTokenizer | None = None
) -> Served:
    """The toy as a served model."""
    return Served(
        name=name,
        engine=engine or ToyEngine(),
        tokenizer=tokenizer or ToyTokenizer(),
        vocab_size=VOCABULARY,
        context=CONTEXT,
        build="toy",
        created=1_700_000_000,
    )
