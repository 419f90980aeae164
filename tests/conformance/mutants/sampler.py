"""Several parameters at once, broken."""

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import DIALECTS
from reference.bundle import Bundle
from reference.logits import Logits
from reference.sampler import SamplingHistory, choose, final_logits
from tests.conformance.mutants import mutant
from tests.conformance.mutations import drawing, steps, whole, without

FINAL = {dialect.name: dialect.final for dialect in DIALECTS}


@mutant("sampler/draws-as-the-reference-does")
def penalties_after_temperature(model: Bundle) -> ASGIApp:
    """The temperature comes first, so that the penalties count for more where it is high."""
    return steps(model, FINAL["penalties after the temperature"])


@mutant("sampler/draws-as-the-reference-does")
def temperature_last(model: Bundle) -> ASGIApp:
    """The temperature comes last."""
    return steps(model, dialects.temperature_last)


@mutant("sampler/draws-as-the-reference-does")
def bold(model: Bundle) -> ASGIApp:
    """Half of the noise is missing."""

    def sample(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        return choose(final_logits(logits, history), noise / 2)

    return drawing(model, sample)


@mutant("sampler/draws-as-the-reference-does")
def presence_ignored(model: Bundle) -> ASGIApp:
    """presence_penalty is accepted and dropped."""
    return without(whole(model), "presence_penalty")
