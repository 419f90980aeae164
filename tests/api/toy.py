"""A toy tokenizer and engine whose every output can be worked out by hand.

Tokens:

    0           <s>
    1           </s>
    2 … 27      a … z
    28 … 35     0, the three bytes of €, " yes", a second a, a byte that is invalid UTF-8, !
    36          ~
    37 … 292    the 256 bytes

The model has a few more token ids than the tokenizer, as real models do.

The next token is the current token + `stride` within its range: within 2 … 27 (LETTERS) or within
28 … 35 (SPECIAL). Past the end of the range it is `</s>`. After `~` it is `~` again, and after any
other token it is `a`. The stride is 1 when greedy, else 1 + (seed + choice) mod 3.

    prompt "w", temperature 0     x y z </s>                    "xyz"
    prompt "w", seed 1, choice 0  y </s>                        "y"
    prompt "0", temperature 0     E2 82 AC " yes" a FF ! </s>   "€ yesa\\ufffd!"

The first line: `w` is token 24, so with stride 1 come 25, 26, 27, and then 28 is out of range. In
the second, the stride is 1 + (1 + 0) mod 3 = 2: 26, and then 28 is out of range.

The sampled token has log-probability −0.25. The remaining tokens, from `a` on in the order of their
ids, have −0.5, −1, −1.5, and then −inf.

In each round of the engine every request takes one step: its first step processes the prompt, and
each later step generates a token for each choice.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from api.engine import ServedModel
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
from reference.tokenizer.vocabulary import Vocabulary

BOS, EOS = 0, 1
LETTERS, SPECIAL = range(2, 28), range(28, 36)
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
    """One token per byte: the id below BYTES if the character has one, else one of the 256."""

    vocab_size = len(PIECES)
    special_ids = frozenset({BOS, EOS})
    max_token_bytes = 1
    leading_space = False
    added_ids = special_ids
    space_after: frozenset[int] = frozenset()
    doubles_space = True

    def __init__(self, bos_id: int | None = BOS) -> None:
        self.bos_id = bos_id

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        ids = [self.bos_id] if add_bos and self.bos_id is not None else []
        return ids + [
            IDS.get(bytes([b]), BYTES + b) if b < 128 else BYTES + b for b in text.encode()
        ]

    def offsets(self, text: str) -> list[int]:
        of_bytes = [i for i, c in enumerate(text) for _ in c.encode()]
        return [0] * (self.bos_id is not None) + of_bytes

    def token_bytes(self, token: int) -> bytes:
        return PIECES[token]


def next_token(token: int, stride: int) -> int:
    if token == LOOP:
        return LOOP
    for ids in LETTERS, SPECIAL:
        if token in ids:
            return token + stride if token + stride in ids else EOS
    return LETTERS[0]


def stride(request: Request, choice: int) -> int:
    return 1 if request.params.temperature == 0 else 1 + (request.seed + choice) % 3


def token_logprobs(token: int, top: int | None) -> TokenLogprobs | None:
    """Return the log-probabilities of the sampled token, then of the other ids from `a` on."""
    if top is None:
        return None
    rest = [i for i in range(LETTERS[0], VOCABULARY) if i != token]
    values = [-0.5, -1.0, -1.5] + [-math.inf] * len(rest)
    ranked = [(token, -0.25), *zip(rest, values, strict=False)]
    return TokenLogprobs(token, -0.25, tuple(ranked[: max(top, 1)]))


def choice_tokens(request: Request, choice: int) -> Iterator[TokenGenerated]:
    """Yield the tokens of one choice. They depend on nothing but the request."""
    params, token = request.params, request.prompt[-1]
    budget = token_budget(params.max_tokens, CONTEXT, len(request.prompt))
    reason = None
    for generated in range(1, budget + 1):
        token = next_token(token, stride(request, choice))
        reason, stop = finish(token, generated, budget, [EOS], params.stop_token_ids)
        yield TokenGenerated(
            choice=choice,
            token=token,
            logprobs=token_logprobs(token, params.logprobs),
            finish_reason=reason,
            stop_reason=stop,
        )
        if reason is not None:
            return


@dataclass
class RequestState:
    """A request in flight. aborted: indices of aborted choices; None means every choice."""

    request: Request
    on_event: Callable[[Event], None]
    choices: dict[int, Iterator[TokenGenerated]] | None = None
    aborted: set[int | None] = field(default_factory=set)


class ToyEngine:
    """The toy engine. pause: seconds between two rounds. fail_after: number of steps after which a
    request fails. hangs: whether the engine accepts requests and never processes them.
    """

    def __init__(
        self, pause: float = 0, fail_after: int | None = None, hangs: bool = False
    ) -> None:
        self.pause, self.fail_after, self.hangs = pause, fail_after, hangs
        self.healthy = True
        self.stalled_since: float | None = None  # time.monotonic() of a step that hangs
        self.steps: Counter[int] = Counter()  # by request id
        self.tokens: Counter[int] = Counter()  # by request id
        self.requests: list[Request] = []
        self._cache: dict[tuple[str, str | None], set[tuple[int, ...]]] = {}
        self._running: dict[int, RequestState] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        with self._wake:
            self.requests.append(request)
            request_id = len(self.requests)
            if not self._closed:
                self._running[request_id] = RequestState(request, on_event)
                self._wake.notify()
                return request_id
        on_event(RequestFinished(error=RuntimeError("the toy was closed")))
        return request_id

    def abort(self, request_id: int, choice: int | None = None) -> None:
        with self._wake:
            if request_id in self._running:
                self._running[request_id].aborted.add(choice)

    def stats(self) -> EngineStats:
        since = self.stalled_since
        return EngineStats(
            healthy=self.healthy,
            running=len(self._running),
            waiting=0,
            stalled_seconds=0.0 if since is None else time.monotonic() - since,
        )

    def close(self, timeout: float | None = None) -> None:
        with self._wake:
            self._closed, self.healthy = True, False
            self._wake.notify()
        self._thread.join(timeout)
        for request_id in [*self._running]:
            self._running.pop(request_id).on_event(
                RequestFinished(error=RuntimeError("the toy was closed"))
            )

    @property
    def idle(self) -> bool:
        return not self._running

    def _run(self) -> None:
        """Run rounds until the engine is closed: one step of each request."""
        while not self._closed:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or (self._running and not self.hangs))
                states = dict(self._running)
            for request_id, state in states.items():
                events = self._step(request_id, state)
                if events and isinstance(events[-1], RequestFinished):
                    with self._wake:
                        del self._running[request_id]
                for event in events:
                    state.on_event(event)
            time.sleep(self.pause)

    def _step(self, request_id: int, state: RequestState) -> list[Event]:
        self.steps[request_id] += 1
        if self.fail_after is not None and self.steps[request_id] > self.fail_after:
            return [RequestFinished(error=RuntimeError("a secret of the engine"))]
        if state.choices is None:
            count = state.request.params.n
            state.choices = {i: choice_tokens(state.request, i) for i in range(count)}
            return [self._process_prompt(state.request)]
        events: list[Event] = []
        for i, tokens in [*state.choices.items()]:
            token = None if state.aborted & {i, None} else next(tokens)
            events += [] if token is None else [token]
            self.tokens[request_id] += token is not None
            if token is None or token.finish_reason is not None:
                del state.choices[i]
        return events if state.choices else [*events, RequestFinished()]

    def _process_prompt(self, request: Request) -> PromptProcessed:
        """Look up blocks of BLOCK tokens in a prefix cache per principal and cache key."""
        key = (request.principal, request.params.prompt_cache_key)
        cache = self._cache.setdefault(key, set())
        prefixes = [request.prompt[:end] for end in range(BLOCK, len(request.prompt) + 1, BLOCK)]
        cached = sum(prefix in cache for prefix in prefixes)
        cache.update(prefixes)
        logprobs: tuple[TokenLogprobs | None, ...] | None = None
        if request.wants_prompt_logprobs:
            rest = (token_logprobs(t, request.params.logprobs) for t in request.prompt[1:])
            logprobs = (None, *rest)
        return PromptProcessed(cached_tokens=cached * BLOCK, prompt_logprobs=logprobs)


def toy_model(
    engine: ToyEngine | None = None, name: str = "toy", tokenizer: ToyTokenizer | None = None
) -> ServedModel:
    """Return the toy as a served model."""
    unused = VOCABULARY - len(PIECES)
    return ServedModel(
        name=name,
        engine=engine or ToyEngine(),
        tokenizer=tokenizer or ToyTokenizer(),
        vocabulary=Vocabulary((*PIECES, *[b""] * unused), frozenset({BOS, EOS})),
        vocab_size=VOCABULARY,
        context=CONTEXT,
        build="toy",
        created=1_700_000_000,
    )
