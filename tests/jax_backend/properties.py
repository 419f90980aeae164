"""Checks of parity properties inside of the test suite."""

from hypothesis import HealthCheck, settings

from conformance.parity.harness.property import Coverage, Property
from conformance.parity.runner import Trial

# Share of the profile's examples, by property or level, for slow ones.
SHARES = {
    "attention/tpu": 0.04,
    "attention/xla": 0.3,
    "layer": 0.3,
    "llama": 0.1,
    "llama/fp8_blocks": 0.05,
    "quantization/linear": 0.1,
    "quantization/int8_product": 0.1,
    "engine/batch_invariance": 0.2,
    "vision": 0.2,
    "output_text": 0.3,
}


def check_property(tested: Property, share: float = 1) -> Coverage:
    """Check a property under the profile of the suite, on a share of its examples."""
    level = tested.name.split("/")[0]
    share *= SHARES.get(tested.name, SHARES.get(level, 1))
    reduced = settings(
        max_examples=max(1, int(settings().max_examples * share)),
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    coverage = Coverage()
    reduced(Trial(tested, coverage, lambda: None).test)()
    return coverage


def assert_rarely_flipped(coverage: Coverage) -> None:
    assert coverage.flipped <= 1, "so many flipped decisions cannot all be borderline"
