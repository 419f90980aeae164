"""The interface of an engine, and a model that the endpoint serves."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from reference.images.placement import ImageProcessor
from reference.request import EngineStats, Event, Request
from reference.tokenizer.protocol import Tokenizer
from reference.tokenizer.vocabulary import Vocabulary


class Engine(Protocol):
    """An inference engine: each submitted request yields a stream of `reference.request` events."""

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        """Queue a request and return its request id. `on_event` may be called on any thread."""

    def abort(self, request_id: int, choice: int | None = None) -> None:
        """Stop one choice, or all, within one decoding step. Ignore finished requests."""

    def stats(self) -> EngineStats: ...

    def close(self, timeout: float | None = None) -> None:
        """Stop within one decoding step. From then on the engine is unhealthy, and every request,
        also one submitted later, ends with an error. Closing again does nothing.

        timeout: the seconds after which the requests end with an error even if the step has not.
        """


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model under its public name, and the other names that requests may use.

    vocab_size: token ids of a prompt are below it. context: maximum number of tokens of prompt and
    output together. image_processor: None for a text-only model. build: identifies the backend
    and the weights. is_follower: the process of another host submits the requests to the engine.
    """

    name: str
    engine: Engine
    tokenizer: Tokenizer
    vocabulary: Vocabulary
    vocab_size: int
    context: int
    image_processor: ImageProcessor | None = None
    build: str = ""
    aliases: tuple[str, ...] = ()
    is_follower: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    @cached_property
    def fingerprint(self) -> str:
        """The `system_fingerprint` of responses: constant while the model and backend are."""
        identity = repr((self.name, self.build, self.vocab_size, self.context))
        return "fp_" + hashlib.sha256(identity.encode()).hexdigest()[:12]
