"""repetition_penalty, broken."""

from collections import deque

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import chain, repetition_of
from reference import sampler
from reference.bundle import Bundle
from reference.logits import Logits
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    clamping,
    defaulting,
    drawing,
    forgiving,
    is_number,
    replacing,
    steps,
    whole,
    without,
)


@mutant("repetition_penalty/out-of-range-is-refused")
def clamped(model: Bundle) -> ASGIApp:
    """A value out of range is moved to the nearest in it."""
    return clamping(whole(model), "repetition_penalty", 0.01, 5)


@mutant("repetition_penalty/what-is-no-number-is-refused")
def no_number_dropped(model: Bundle) -> ASGIApp:
    """What is no number is dropped."""
    return forgiving(whole(model), "repetition_penalty", is_number)


@mutant("repetition_penalty/the-ends-of-the-range-are-accepted")
def none_below_one(model: Bundle) -> ASGIApp:
    """A value below 1 is a 422."""
    return replacing(whole(model), "repetition_penalty", lambda p: 0 if p and p < 1 else p)


@mutant("repetition_penalty/default-is-one")
def another_default(model: Bundle) -> ASGIApp:
    """The default is 1.1."""
    return defaulting(whole(model), "repetition_penalty", 1.1)


@mutant("repetition_penalty/one-is-off")
def never_off(model: Bundle) -> ASGIApp:
    """1 is 1.1."""
    return replacing(whole(model), "repetition_penalty", lambda p: 1.1 if p == 1 else p)


@mutant(
    "repetition_penalty/new-tokens-are-left-as-they-are",
    "repetition_penalty/the-prompt-is-read-too",
    "repetition_penalty/greedy-texts-are-those-of-the-reference",
)
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "repetition_penalty")


@mutant("repetition_penalty/new-tokens-are-left-as-they-are")
def new_ones_penalised(model: Bundle) -> ASGIApp:
    """It acts on the tokens that were not seen."""
    return steps(model, chain(repetition_penalty=repetition_of(lambda h: ~h.seen)))


@mutant(
    "repetition_penalty/the-prompt-is-read-too", "repetition_penalty/prompt-and-output-are-read"
)
def output_only(model: Bundle) -> ASGIApp:
    """It acts on the tokens of the output."""
    return steps(model, chain(repetition_penalty=repetition_of(lambda h: h.counts > 0)))


@mutant("repetition_penalty/prompt-and-output-are-read")
def prompt_only(model: Bundle) -> ASGIApp:
    """It acts on the tokens of the prompt."""
    prompt = repetition_of(lambda h: h.seen & (h.counts == 0))
    return steps(model, chain(repetition_penalty=prompt))


@mutant("repetition_penalty/greedy-texts-are-those-of-the-reference")
def window(model: Bundle) -> ASGIApp:
    """It acts on the last 4 tokens of the output, and on the prompt."""
    last: dict[int, tuple[sampler.SamplingHistory, deque[int]]] = {}  # by identity

    def sample(logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        _, recent = last.setdefault(id(history), (history, deque(maxlen=4)))
        seen = history.seen & (history.counts == 0)
        seen[list(recent)] = True
        token = sampler.sample(logits, dialects.replace(history, seen=seen), noise)
        recent.append(token)
        return token

    return drawing(model, sample)


@mutant("repetition_penalty/negative-logits-are-multiplied")
def dividing(model: Bundle) -> ASGIApp:
    """It divides, whatever the sign."""
    return steps(model, chain(repetition_penalty=dialects.dividing))


@mutant("repetition_penalty/how-often-does-not-matter")
def for_each_time(model: Bundle) -> ASGIApp:
    """It acts once for each time that a token was seen."""
    return steps(model, chain(repetition_penalty=dialects.per_occurrence))
