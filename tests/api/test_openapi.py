"""The OpenAPI document matches the server: schemathesis sends valid and invalid requests."""

from dataclasses import replace
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from api.app import create_app
from tests.api.toy import toy_model

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
APP = create_app([toy_model()], keys=["key"])
schema = schemathesis.openapi.from_asgi("/openapi.json", APP)


@pytest.mark.parametrize(("takes_images", "max_items"), [(True, None), (False, 0)])
def test_text_only_server_documents_an_empty_list_of_images(
    takes_images: bool, max_items: int | None
) -> None:
    served = replace(toy_model(), image_processor=cast(Any, object()) if takes_images else None)
    document = TestClient(create_app([served])).get("/openapi.json").json()
    served.engine.close()
    images = document["components"]["schemas"]["Data"]["properties"]["image"]
    assert images.get("maxItems") == max_items


@schema.parametrize()
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_requests_match_the_document(case: schemathesis.Case) -> None:
    case.call_and_validate(headers={"xi-api-key": "key"}, checks=CHECKS)


@schema.include(path="/v1/completions").parametrize()
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_completions_for_the_served_model(case: schemathesis.Case) -> None:
    if isinstance(case.body, dict):
        case.body["model"] = "toy"
    case.call_and_validate(headers={"Authorization": "Bearer key"}, checks=CHECKS)
