"""Whole requests through an engine, with all parameters at once."""

from hypothesis import strategies as st

from conformance.parity.harness import agreement, invariance
from conformance.parity.harness.backends import Backend
from conformance.parity.harness.property import OfModel, Tally
from conformance.parity.harness.requests import Asked, asked, collect


def requests(backend: Backend, one: Asked, tally: Tally) -> None:
    """The reference could have given the same answer: tokens, reasons, log-probabilities."""
    [answer] = collect(backend.roomy, [one.request])
    agreement.compare(backend.model, one.request, answer, tally)


def crowds(backend: Backend, crowd: list[Asked], tally: Tally) -> None:
    """Alone, in a crowd, cached and where requests give way to each other: the same bits."""
    before = backend.preempted()
    requests = [one.request for one in crowd]
    tally.counts["requests"] += invariance.check(backend.roomy, backend.tight, requests)
    tally.counts["times that one gave way"] += backend.preempted() - before


def any_request(backend: Backend) -> st.SearchStrategy[Asked]:
    config = backend.model.checkpoint.config
    return asked(config.vocab_size, vision=config.vision)


def any_crowd(backend: Backend) -> st.SearchStrategy[list[Asked]]:
    config = backend.model.checkpoint.config
    one = asked(config.vocab_size, 100 if config.vision else 160, 90, config.vision)
    return st.lists(one, min_size=2, max_size=8)


PROPERTIES = (
    OfModel("engine/requests", any_request, requests),
    OfModel("engine/crowds", any_crowd, crowds),
)
