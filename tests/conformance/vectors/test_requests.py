"""The endpoint of this project answers the request cases as expected."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from conformance.vectors.comparing import compare
from tests.api.toy import toy_model
from tests.conformance.vectors.conftest import Families


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    served = toy_model(name="m")
    with TestClient(create_app([served])) as client:
        yield client
    served.engine.close()


def test_endpoint_answers(client: TestClient, families: Families) -> None:
    header, cases = families["request"]
    wrong = {}
    for case in cases:
        reply = client.post("/v1/completions", json=case.input["body"])
        detail = reply.json().get("detail") if reply.status_code == 422 else None
        answer = {"status": reply.status_code, "field": detail[0]["loc"][1] if detail else None}
        if outcome := compare(case, header["compare"], answer, alpha=1e-6):
            wrong[case.id] = f"{outcome} {reply.text[:200]}"
    assert not wrong


def test_field_and_status_are_compared(families: Families) -> None:
    header, cases = families["request"]
    case = next(case for case in cases if case.expect["field"] == "top_p")
    for answer, verdict in (
        ({"status": 422, "field": "top_k"}, "FAIL"),
        ({"status": 200, "field": None}, "FAIL"),
        ({"status": 400, "field": "top_p"}, "NON-STRICT"),
        ({"status": 422}, None),
    ):
        outcome = compare(case, header["compare"], answer, alpha=1e-6)
        assert (outcome.verdict if outcome else None) == verdict
