"""The checks, and how they are chosen."""

import re

import pytest

from conformance.cli.commands import source_of
from conformance.harness.registry import (
    SPEC,
    Check,
    all_checks,
    check,
    matches,
    selected,
)
from conformance.verdicts import Depth, Evidence, Level

CODE = re.compile(r"\w+\.\w+")


def ids(found: list[Check]) -> set[str]:
    return {c.id for c in found}


def test_a_parameter_is_all_of_its_checks() -> None:
    assert (
        ids(selected(["top_p"])) == {c.id for c in all_checks() if c.parameter == "top_p"} != set()
    )


def test_globs_choose_and_leave_out() -> None:
    assert ids(selected(["*/out-of-range-is-refused"])) >= {"top_p/out-of-range-is-refused"}
    left = ids(selected(["top_p"], ["*/out-of-range-*"]))
    assert left == ids(selected(["top_p"])) - {"top_p/out-of-range-is-refused"}
    assert len(selected()) == len(all_checks())


def test_a_glob_that_matches_nothing_is_an_error() -> None:
    for arguments in ((["top_q"],), ([], ["top_p/none"]), (["Top_P"],)):
        with pytest.raises(ValueError, match="matches no check"):
            selected(*arguments)


def test_a_glob_is_exact_where_it_can_be() -> None:
    assert matches("top_p/one", ["top_p/one"]) and not matches("top_p/one", ["top_p/on"])
    assert not matches("stop/one", ["top"]) and not matches("top_p/one", [])


def test_the_order_is_that_of_the_contract() -> None:
    order = [*dict.fromkeys(c.parameter for c in all_checks() if c.parameter in SPEC)]
    assert order == [name for name in SPEC if name in order]


@pytest.mark.parametrize("found", all_checks(), ids=lambda c: c.id)
def test_a_check_says_what_must_hold_and_who_says_so(found: Check) -> None:
    assert found.clause.endswith(".") and "\n" not in found.clause
    assert source_of(found.rests_on) or not CODE.fullmatch(found.rests_on), found.rests_on


def test_an_id_is_given_once() -> None:
    def out_of_range_is_refused() -> None:
        """Another."""

    out_of_range_is_refused.__module__ = "conformance.checks.top_p"
    with pytest.raises(ValueError, match="top_p/out-of-range-is-refused"):
        check(Depth.PROTOCOL, Level.MUST, Evidence.EXACT)(out_of_range_is_refused)
