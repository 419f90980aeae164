"""The table of parameters: what a value may be."""

from typing import Any

import pytest

from reference.params import CompletionParams


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("stop", "abc"), ("stop", ["a"]), ("stop", None)),
        *(("stop_token_ids", [5]), ("stop_token_ids", 5), ("stop_token_ids", None)),
    ],
)
def test_several_stops_are_a_tuple(name: str, value: Any) -> None:
    """For whoever does not check types; here they are checked, so the value is slipped in."""
    params = CompletionParams()
    object.__setattr__(params, name, value)
    with pytest.raises(ValueError, match=f"^{name}: .* is not a tuple"):
        params.__post_init__()


def test_stops_are_limited() -> None:
    CompletionParams(stop=("x",) * 16)
    with pytest.raises(ValueError, match="^stop: 17 items"):
        CompletionParams(stop=("x",) * 17)
    with pytest.raises(ValueError, match="^stop_token_ids: -1"):
        CompletionParams(stop_token_ids=(5, -1))
