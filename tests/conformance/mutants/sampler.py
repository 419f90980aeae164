"""Mutants of the checks of the whole sampler."""

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import DIALECTS
from reference.bundle import Bundle
from reference.logits import Logits
from reference.sampler import SamplingHistory, final_logits, gumbel_argmax
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import conforming_app, with_logits_chain, with_sampler
from tests.conformance.mutations.requests import drop_fields

FINAL = {dialect.name: dialect.final for dialect in DIALECTS}


@mutant("sampler/draws-match-reference")
def penalties_after_temperature(model: Bundle) -> ASGIApp:
    """Apply the temperature first, so that a high one makes the penalties stronger."""
    return with_logits_chain(model, FINAL["penalties after the temperature"])


@mutant("sampler/draws-match-reference")
def temperature_last(model: Bundle) -> ASGIApp:
    """Apply the temperature last."""
    return with_logits_chain(model, dialects.temperature_last)


@mutant("sampler/draws-match-reference")
def half_noise(model: Bundle) -> ASGIApp:
    """Sample with half of the noise."""

    def sample(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        return gumbel_argmax(final_logits(logits, history), noise / 2)

    return with_sampler(model, sample)


@mutant("sampler/draws-match-reference")
def presence_ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore presence_penalty."""
    return drop_fields(conforming_app(model), "presence_penalty")
