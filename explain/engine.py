"""The reference engine, which reports each token; one for each served model."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from api.engine import ServedModel
from explain.limits import MAX_WEIGHT_BYTES
from explain.schema import Report
from explain.tracer import Tracer
from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.output_text import TokenDisplay
from reference.request import EngineStats, Event, Request, TokenGenerated


@dataclass(frozen=True, kw_only=True)
class TokenExplained(TokenGenerated):
    """A generated token, and the JSON of its steps and its draw."""

    explanation: bytes


@dataclass(frozen=True)
class Explaining:
    """The engine of one HTTP request: the model's engine, whose tokens are explained."""

    engine: ReferenceEngine
    display: TokenDisplay
    report: Report

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        tracer = Tracer(self.display, self.report)

        def explain(event: Event) -> None:
            if isinstance(event, TokenGenerated):
                event = TokenExplained(**vars(event), explanation=tracer.last(event.choice))
            on_event(event)

        return self.engine.submit(request, explain, tracer)

    def abort(self, request_id: int, choice: int | None = None) -> None:
        self.engine.abort(request_id, choice)

    def stats(self) -> EngineStats:
        return self.engine.stats()

    def close(self, timeout: float | None = None) -> None:
        """Do nothing: the engine belongs to the model."""


@dataclass(eq=False)
class ExplainedModel:
    """The reference of a served model. load: reads its checkpoint, when the first request
    arrives.
    """

    served_model: ServedModel
    load: Callable[[], Bundle]

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    @cached_property
    def _engine(self) -> ReferenceEngine:
        return ReferenceEngine(self.load())

    @property
    def engine(self) -> ReferenceEngine:
        """Return the engine, and load it if necessary, which may take seconds."""
        with self._lock:
            return self._engine

    def explaining(self, report: Report) -> ServedModel:
        """Return the model with an engine that explains the tokens of one request."""
        display = TokenDisplay(self.served_model.tokenizer, as_ids=False)
        return replace(self.served_model, engine=Explaining(self.engine, display, report))

    def close(self) -> None:
        if "_engine" in vars(self):
            self._engine.close()


Models = Mapping[str, ExplainedModel]


def check_size(name: str, directory: Path) -> None:
    """Raise ValueError, naming the option, if the reference cannot hold the weights of a model."""
    size = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    if size > MAX_WEIGHT_BYTES:
        raise ValueError(
            f"--explain: the weights of {name!r} have {size} bytes; the reference explains models "
            f"of at most {MAX_WEIGHT_BYTES}"
        )
