"""The table of parameters: types and ranges."""

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
def test_list_parameters_are_tuples(name: str, value: Any) -> None:
    """The constructor is type-checked while tests run, so the value bypasses it."""
    params = CompletionParams()
    object.__setattr__(params, name, value)
    with pytest.raises(ValueError, match=f"^{name}: must be a tuple, got "):
        params.__post_init__()


def test_stops_are_limited() -> None:
    CompletionParams(stop=("x",) * 16)
    with pytest.raises(ValueError, match="^stop: must have at most 16 items, got 17"):
        CompletionParams(stop=("x",) * 17)
    with pytest.raises(ValueError, match="^stop_token_ids: must be ≥ 0, got -1"):
        CompletionParams(stop_token_ids=(5, -1))
