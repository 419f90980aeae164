"""Causes: an ignored parameter is one finding, and a refused one is none."""

import itertools
import json
from typing import Any

import pytest
from starlette.types import ASGIApp

from conformance.fixtures.parameters import MEANINGFUL, parameters
from conformance.harness.causes import EFFECTS, VARIES
from conformance.harness.registry import Check, all_checks
from conformance.harness.result import Result
from conformance.harness.runner import run
from conformance.verdicts import Verdict
from reference.bundle import Bundle
from tests.conformance.conftest import Serve, target, target_at
from tests.conformance.factories import report
from tests.conformance.mutants import all_mutants
from tests.conformance.mutations.engine import conforming_app
from tests.conformance.mutations.requests import drop_fields, mutate_body, route_by_body
from tests.conformance.mutations.responses import mutate_response, refuse_field

ALWAYS_SENT = ("max_tokens", "temperature")  # by every check, so a server cannot refuse them


NO_FINDING = (*(Verdict.PASS, Verdict.UNSUPPORTED, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE),)


def checks_of(*names: str) -> list[Check]:
    return [c for c in all_checks() if c.parameter in names]


def run_checks(app: ASGIApp, model: Bundle, checks: list[Check]) -> list[Result]:
    with target(app, model) as served:
        return run(served, checks, 2)


REFUSABLE = [p.name for p in parameters() if p.name not in ALWAYS_SENT]


@pytest.mark.lane
@pytest.mark.parametrize("neutral", [True, False], ids=["always", "unless-neutral"])
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("name", REFUSABLE)
def test_refused_parameter_fails_no_check(
    tiny_model: Bundle, name: str, status: int, neutral: bool
) -> None:
    quick = [c for c in checks_of(name) if c.evidence != "statistical"]
    results = run_checks(refuse_field(tiny_model, name, status, neutral), tiny_model, quick)
    wrong = [r for r in results if r.verdict not in NO_FINDING]
    assert not wrong, wrong
    assert any(r.verdict is Verdict.UNSUPPORTED for r in results)


def refuse_unknown_fields(model: Bundle, status: int) -> ASGIApp:
    """Refuse a field that is not in the contract, by its name in a message."""
    known = {"model", "prompt", *(p.name for p in parameters())}

    def changed(names: list[str]) -> ASGIApp:
        message = json.dumps({"error": {"message": f"Extra inputs are not permitted: {names}"}})
        return mutate_response(
            app, lambda scope, response: (status, {"content-type": "application/json"}, message)
        )

    app = conforming_app(model)

    def choose(raw: bytes) -> ASGIApp:
        try:
            body = json.loads(raw)
        except ValueError:
            return app
        unknown = sorted(body.keys() - known) if isinstance(body, dict) else []
        return changed(unknown) if unknown else app

    return route_by_body(choose)


@pytest.mark.parametrize("status", [400, 422, 403])
def test_refused_unknown_field_fails_no_check(tiny_model: Bundle, status: int) -> None:
    app = refuse_unknown_fields(tiny_model, status)
    results = run_checks(app, tiny_model, checks_of("unknown_fields"))
    allowed = {Verdict.PASS, Verdict.NON_STRICT, Verdict.UNSUPPORTED}
    assert {r.verdict for r in results} <= allowed, results
    [named] = [r for r in results if r.id == "unknown_fields/named-or-refused"]
    assert named.verdict is Verdict.NON_STRICT


@pytest.mark.lane
@pytest.mark.parametrize("name", EFFECTS)
def test_ignored_parameter_is_one_finding(tiny_model: Bundle, name: str) -> None:
    app = drop_fields(conforming_app(tiny_model), name)
    quick = [c for c in checks_of(name) if c.evidence != "statistical" or name == "temperature"]
    results = run_checks(app, tiny_model, quick)
    findings = [r for r in results if r.finding]
    failed = [r for r in results if r.verdict is Verdict.FAIL]
    causes = [(r.id, r.verdict, r.cause) for r in findings]
    assert len(causes) == 1 and causes[0][2] == f"{name} is ignored", causes
    assert len(failed) > 1 and all(r.same_as == findings[0].id for r in failed[1:])
    counted = report(results)
    assert counted.count(Verdict.FAIL) == 1 and counted.repeated == len(failed) - 1
    assert "1 finding" in counted.headline


@pytest.mark.lane
def test_ignored_parameter_explains_the_checks_of_all_parameters(tiny_model: Bundle) -> None:
    app = drop_fields(conforming_app(tiny_model), "top_p")
    chosen = [
        c
        for c in checks_of("top_p", "top_k", "sampler")
        if "draws" in c.id or c.id == "top_k/before-top-p"
    ]
    results = run_checks(app, tiny_model, chosen)
    failed = [r for r in results if r.verdict is Verdict.FAIL]
    assert {r.id for r in failed} >= {"top_p/draws-from-nucleus", "sampler/draws-match-reference"}
    assert {r.cause for r in failed} == {"top_p is ignored"}
    assert sum(r.finding for r in results) == 1


def greedy_at_random(model: Bundle) -> ASGIApp:
    """Answer each greedy request with a text of its own, as a server does that breaks ties by the
    load.
    """
    seeds = itertools.count()

    def change(body: dict[str, Any]) -> dict[str, Any]:
        is_greedy = body.get("temperature") == 0
        return body | ({"temperature": 0.5, "seed": next(seeds)} if is_greedy else {})

    return mutate_body(conforming_app(model), change)


def test_varying_answers_are_one_cause(tiny_model: Bundle) -> None:
    ids = ("stream/equals-non-streamed", "determinism/greedy-batch-invariant", "user/default")
    chosen = [c for c in all_checks() if c.id in ids]
    results = run_checks(greedy_at_random(tiny_model), tiny_model, chosen)
    failed = [r for r in results if r.verdict is Verdict.FAIL]
    assert len(failed) > 1 and {r.cause for r in failed} == {VARIES}
    assert sum(r.finding for r in results) == 1


def test_wrong_stream_of_a_deterministic_server_has_its_own_cause(tiny_model: Bundle) -> None:
    app = mutate_body(
        conforming_app(tiny_model), lambda b: b | ({"max_tokens": 3} if b.get("stream") else {})
    )
    [result] = run_checks(
        app, tiny_model, [c for c in all_checks() if c.id == "stream/equals-non-streamed"]
    )
    assert result.verdict is Verdict.FAIL and result.cause == ""


def test_conforming_server_ignores_none(tiny_model: Bundle, serve_app: Serve) -> None:
    with target_at(serve_app(conforming_app(tiny_model)), tiny_model) as served:
        for name, has_effect in EFFECTS.items():
            assert has_effect(served.server(name)), name
        for name, fields in MEANINGFUL.items():
            assert served.server(name).post(**fields).status == 200, name


OTHER_FAULTS = [
    m
    for m in all_mutants()
    if m.id.partition("/")[0] in EFFECTS and "ignored" not in m.id and "wrong-type" in m.id
]


@pytest.mark.parametrize("mutant", OTHER_FAULTS, ids=lambda m: m.id)
def test_other_fault_is_not_called_ignored(
    tiny_model: Bundle, serve_app: Serve, mutant: Any
) -> None:
    with target_at(serve_app(mutant.make(tiny_model)), tiny_model) as served:
        [result] = run(served, [c for c in all_checks() if c.id == mutant.killed_by[0]])
    assert result.verdict is Verdict.FAIL and result.cause == ""
