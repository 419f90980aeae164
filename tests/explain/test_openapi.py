"""The document matches the endpoint: schemathesis sends valid and invalid requests."""

from dataclasses import replace

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    status_code_conformance,
)

from api.app import create_app
from explain.extension import PATH, ExplainExtension
from reference.bundle import EMBEDDED, load_processor
from tests.api.toy import toy_model

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
]


PROCESSOR = load_processor(EMBEDDED / "text")
SERVED = replace(
    toy_model(),  # its engine is not used; the reference loads the checkpoint at the first request
    tokenizer=PROCESSOR.tokenizer,
    vocabulary=PROCESSOR.vocabulary,
    vocab_size=len(PROCESSOR.vocabulary.pieces),
    context=512,
)
EXTENSION = ExplainExtension.of([SERVED], [EMBEDDED / "text"])
APP = create_app([SERVED], keys=["key"], extensions=[EXTENSION])
schema = schemathesis.openapi.from_asgi("/openapi.json", APP).include(path=PATH)


@pytest.mark.lane
@schema.parametrize()
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_requests_match_the_document(case: schemathesis.Case) -> None:
    if isinstance(case.body, dict):
        case.body["model"] = SERVED.name
        case.body["max_tokens"] = 2 if case.body.get("max_tokens") is None else 3
    case.call_and_validate(headers={"xi-api-key": "key"}, checks=CHECKS)
