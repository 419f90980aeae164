"""Token budget and finish reason."""

from typing import Any

from hypothesis import strategies as st

from conformance.parity.harness.property import Coverage, Property
from jax_backend import stopping
from reference import stopping as spec

IDS = st.integers(0, 4)
ID_SETS = st.lists(IDS, max_size=3).map(tuple)


def token_budget(example: dict[str, Any], coverage: Coverage) -> None:
    """The token budget is the reference's, and so are the prompts that leave no room."""
    try:
        expected = spec.token_budget(**example)
    except ValueError:
        expected = None
    try:
        budget = stopping.token_budget(**example)
    except ValueError:
        budget = None
    assert budget == expected, f"{budget}, expected {expected}"


def finish(example: dict[str, Any], coverage: Coverage) -> None:
    """The finish reason and the stop reason are the reference's."""
    reasons, expected = stopping.finish(**example), spec.finish(**example)
    assert reasons == expected, f"{reasons}, expected {expected}"


PROPERTIES = (
    Property(
        "stopping/token_budget",
        st.fixed_dictionaries(
            {
                "max_tokens": st.none() | st.integers(1, 12) | st.integers(1, 2**31),
                "context": st.integers(1, 12) | st.integers(1, 2**17),
                "prompt_length": st.integers(1, 14),
            }
        ),
        token_budget,
    ),
    Property(
        "stopping/finish",
        st.fixed_dictionaries(
            {
                "token": IDS,
                "generated": st.integers(1, 4),
                "budget": st.integers(1, 4),
                "eos_token_ids": ID_SETS,
                "stop_token_ids": ID_SETS,
            }
        ),
        finish,
    ),
)
