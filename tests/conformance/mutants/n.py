"""n, broken."""

from collections.abc import Callable
from dataclasses import replace

from starlette.types import ASGIApp

from api.app import create_app
from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.request import Event, PromptProcessed, Request, RequestFinished, TokenGenerated
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    answering,
    asking,
    clamping,
    defaulting,
    params,
    replacing,
    served,
    whole,
)


class Splitting:
    """An engine that makes n requests of one. seed_of: that of each, given the seed that was asked
    for, the index of the choice, and n.
    """

    def __init__(self, model: Bundle, seed_of: Callable[[int, int, int], int]) -> None:
        self.engine, self.seed_of = ReferenceEngine(model), seed_of
        self.abort, self.stats, self.close = self.engine.abort, self.engine.stats, self.engine.close

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        n = request.params.n
        for i in range(n):
            one = replace(params(request, n=1), seed=self.seed_of(request.seed, i, n))
            request_id = self.engine.submit(one, self.part(on_event, i, last=i == n - 1))
        return request_id

    def part(
        self, on_event: Callable[[Event], None], i: int, last: bool
    ) -> Callable[[Event], None]:
        def told(event: Event) -> None:
            if isinstance(event, TokenGenerated):
                on_event(replace(event, choice=i))
            elif (isinstance(event, PromptProcessed) and i == 0) or (
                isinstance(event, RequestFinished) and last
            ):
                on_event(event)

        return told


def splitting(model: Bundle, seed_of: Callable[[int, int, int], int]) -> ASGIApp:
    return create_app([served(model, Splitting(model, seed_of))])


@mutant("n/out-of-range-is-refused")
def clamped(model: Bundle) -> ASGIApp:
    """A value out of range is moved to the nearest in it."""
    return clamping(whole(model), "n", 1, 4)


@mutant("n/what-is-no-integer-is-refused")
def fractions_are_cut(model: Bundle) -> ASGIApp:
    """1.5 is 1."""
    return replacing(whole(model), "n", lambda n: int(n) if isinstance(n, float) else n)


@mutant("n/the-ends-of-the-range-are-accepted")
def at_most_three(model: Bundle) -> ASGIApp:
    """4 is a 422."""
    return replacing(whole(model), "n", lambda n: 5 if n == 4 else n)


@mutant("n/default-is-one")
def another_default(model: Bundle) -> ASGIApp:
    """The default is 2."""
    return defaulting(whole(model), "n", 2)


@mutant("n/so-many-choices-come-back")
def all_are_the_first(model: Bundle) -> ASGIApp:
    """Each choice has the index 0."""

    def change(answer: Json) -> Json:
        return answer | {"choices": [c | {"index": 0} for c in answer["choices"]]}

    return answering(whole(model), change)


@mutant("n/so-many-choices-come-back")
def ignored(model: Bundle) -> ASGIApp:
    """One choice comes back, whatever was asked for."""
    return replacing(whole(model), "n", lambda n: n if n is None else min(n, 1))


@mutant("n/greedy-choices-are-equal")
def several_are_sampled(model: Bundle) -> ASGIApp:
    """Several choices are never greedy: the temperature is 0.3 at least."""

    def change(body: Json) -> Json:
        warm = body.get("n", 1) > 1 and body.get("temperature") == 0
        return body | ({"temperature": 0.3} if warm else {})

    return asking(whole(model), change)


@mutant("n/choices-differ", "n/choices-are-drawn-independently")
def one_seed(model: Bundle) -> ASGIApp:
    """All choices are drawn with the same chance."""
    return splitting(model, lambda seed, i, n: seed)


@mutant("n/choices-differ", "n/choices-are-drawn-independently")
def pairs(model: Bundle) -> ASGIApp:
    """Choices 2 and 3 are copies of 0 and 1."""
    return splitting(model, lambda seed, i, n: seed + i % 2 * 2**40)


@mutant("n/a-choice-does-not-depend-on-n")
def n_enters(model: Bundle) -> ASGIApp:
    """n is mixed into the seed."""
    return splitting(model, lambda seed, i, n: seed * 4 + i + n * 2**40)


@mutant("n/a-choice-is-not-of-the-next-seed")
def seed_and_index(model: Bundle) -> ASGIApp:
    """Choice i is drawn as the only one of the seed that is i higher."""
    return splitting(model, lambda seed, i, n: seed + i)


@mutant("seed/draws-are-those-of-the-reference")
def index_in_the_high_word(model: Bundle) -> ASGIApp:
    """The index of a choice is added to the seed, where no other seed is near."""
    return splitting(model, lambda seed, i, n: seed + i * 2**40)
