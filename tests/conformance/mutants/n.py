"""Mutants of the checks of n."""

from collections.abc import Callable
from dataclasses import replace

from starlette.types import ASGIApp

from api.app import create_app
from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.request import Event, PromptProcessed, Request, RequestFinished, TokenGenerated
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app, served_model, with_params
from tests.conformance.mutations.requests import mutate_body, replace_field
from tests.conformance.mutations.responses import mutate_json


class SplittingEngine:
    """An engine that splits a request for n choices into n requests. seed_of: the seed of each,
    from the seed of the request, the index of the choice, and n.
    """

    def __init__(self, model: Bundle, seed_of: Callable[[int, int, int], int]) -> None:
        self.engine, self.seed_of = ReferenceEngine(model), seed_of
        self.abort, self.stats, self.close = self.engine.abort, self.engine.stats, self.engine.close

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        n = request.params.n
        for i in range(n):
            single = replace(with_params(request, n=1), seed=self.seed_of(request.seed, i, n))
            request_id = self.engine.submit(single, self.choice(on_event, i, last=i == n - 1))
        return request_id

    def choice(
        self, on_event: Callable[[Event], None], i: int, last: bool
    ) -> Callable[[Event], None]:
        """Return a callback that passes on the events of one choice, with its index."""

        def forward(event: Event) -> None:
            if isinstance(event, TokenGenerated):
                on_event(replace(event, choice=i))
            elif (isinstance(event, PromptProcessed) and i == 0) or (
                isinstance(event, RequestFinished) and last
            ):
                on_event(event)

        return forward


def with_splitting_engine(model: Bundle, seed_of: Callable[[int, int, int], int]) -> ASGIApp:
    """Return a server whose engine splits requests."""
    return create_app([served_model(model, SplittingEngine(model, seed_of))])


@mutant("n/choice-count")
def all_index_zero(model: Bundle) -> ASGIApp:
    """Give each choice the index 0."""

    def change(answer: Json) -> Json:
        return answer | {"choices": [c | {"index": 0} for c in answer["choices"]]}

    return mutate_json(conforming_app(model), change)


@mutant("n/choice-count")
def ignored(model: Bundle) -> ASGIApp:
    """Return one choice, whatever n is."""
    return replace_field(conforming_app(model), "n", lambda n: n if n is None else min(n, 1))


@mutant("n/greedy-choices-equal")
def several_sampled(model: Bundle) -> ASGIApp:
    """Use a temperature of at least 0.3 for several choices."""

    def change(body: Json) -> Json:
        is_greedy = body.get("n", 1) > 1 and body.get("temperature") == 0
        return body | ({"temperature": 0.3} if is_greedy else {})

    return mutate_body(conforming_app(model), change)


@mutant("n/seeded-choices-differ", "n/independent-draws")
def shared_seed(model: Bundle) -> ASGIApp:
    """Use the same draws for all choices."""
    return with_splitting_engine(model, lambda seed, i, n: seed)


@mutant("n/seeded-choices-differ", "n/independent-draws")
def repeated_pairs(model: Bundle) -> ASGIApp:
    """Return copies of choices 0 and 1 as 2 and 3."""
    return with_splitting_engine(model, lambda seed, i, n: seed + i % 2 * 2**40)


@mutant("n/choice-independent-of-n")
def n_enters_seed(model: Bundle) -> ASGIApp:
    """Mix n into the seed."""
    return with_splitting_engine(model, lambda seed, i, n: seed * 4 + i + n * 2**40)


@mutant("n/no-seed-plus-index")
def seed_plus_index(model: Bundle) -> ASGIApp:
    """Sample choice i as the first choice of the seed plus i."""
    return with_splitting_engine(model, lambda seed, i, n: seed + i)


@mutant("seed/draws-match-reference")
def index_in_high_bits(model: Bundle) -> ASGIApp:
    """Add the index of a choice to the high bits of the seed."""
    return with_splitting_engine(model, lambda seed, i, n: seed + i * 2**40)
