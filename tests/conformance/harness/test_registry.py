"""The registered checks, and their selection by globs."""

import re

import pytest

from conformance.cli.commands import source_of
from conformance.harness.registry import (
    SPEC,
    Check,
    CheckGroup,
    all_checks,
    matches,
    selected,
)
from conformance.verdicts import Evidence, Level

RANGE = "top_p/range"
RANGE_IN_ALL = f"*/{RANGE.partition('/')[2]}"
CODE = re.compile(r"\w+\.\w+")


def ids(checks: list[Check]) -> set[str]:
    return {c.id for c in checks}


def test_parameter_selects_its_checks() -> None:
    expected = {c.id for c in all_checks() if c.parameter == "top_p"}
    assert ids(selected(["top_p"])) == expected != set()


def test_globs_select_and_skip() -> None:
    assert ids(selected([RANGE_IN_ALL])) >= {RANGE}
    remaining = ids(selected(["top_p"], [RANGE_IN_ALL]))
    assert remaining == ids(selected(["top_p"])) - {RANGE}
    assert len(selected()) == len(all_checks())


def test_glob_without_a_match_is_an_error() -> None:
    for arguments in ((["top_q"],), ([], ["top_p/none"]), (["Top_P"],)):
        with pytest.raises(ValueError, match="matches no check"):
            selected(*arguments)


def test_glob_is_anchored() -> None:
    assert matches("top_p/one", ["top_p/one"]) and not matches("top_p/one", ["top_p/on"])
    assert not matches("stop/one", ["top"]) and not matches("top_p/one", [])


def test_order_of_parameters() -> None:
    order = [*dict.fromkeys(c.parameter for c in all_checks() if c.parameter in SPEC)]
    assert order == [name for name in SPEC if name in order]


@pytest.mark.parametrize("check", all_checks(), ids=lambda c: c.id)
def test_check_has_clause_and_spec(check: Check) -> None:
    assert check.clause.endswith(".") and "\n" not in check.clause
    assert source_of(check.spec) or not CODE.fullmatch(check.spec), check.spec


def test_id_is_unique() -> None:
    name = next(c.id for c in all_checks() if c.parameter == "top_p").partition("/")[2]
    protocol = CheckGroup("top_p").protocol
    with pytest.raises(ValueError, match=f"top_p/{name}"):
        protocol(Level.MUST, Evidence.EXACT, name=name, clause="Another.")(lambda server: None)
