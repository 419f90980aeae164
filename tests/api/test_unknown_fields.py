"""Unknown fields: reported and ignored, or refused in strict mode."""

import json

from starlette.testclient import TestClient

from api.app import create_app
from tests.api.http_client import PATH, complete, error_locations, post
from tests.api.toy import toy_model

LONG = "x" * 100_000


def test_unknown_fields_are_reported_and_ignored(toy_client: TestClient) -> None:
    response = post(toy_client, best_of=3, ignore_eos=True)
    assert response.headers["x-ignored-parameters"] == "best_of,ignore_eos"
    assert response.json()["choices"] == complete(toy_client)["choices"]
    assert "x-ignored-parameters" not in post(toy_client).headers
    streamed = post(toy_client, best_of=3, stream=True)
    assert streamed.headers["x-ignored-parameters"] == "best_of"


def test_nested_unknown_fields_are_reported(toy_client: TestClient) -> None:
    """Nested fields follow the order of the table, not of the body or of hashes."""
    response = post(
        toy_client,
        data={"video": []},
        stream_options={"include_obfuscation": False},
        response_format={"type": "text", "x.y": 1},
        best_of=1,
    )
    assert response.headers["x-ignored-parameters"].split(",") == [
        "best_of",
        "response_format.x.y",
        "stream_options.include_obfuscation",
        "data.video",
    ]


def test_empty_field_name_is_not_the_body(toy_client: TestClient) -> None:
    response = post(toy_client, **{"": {"n": 9, "x": 1}})
    assert (response.status_code, response.headers["x-ignored-parameters"]) == (200, "")


def test_header_is_escaped_and_bounded(toy_client: TestClient) -> None:
    names = ["a\r\nset-cookie: x", "é,", "\ud800", "", LONG, *(f"f{i}" for i in range(10_000))]
    sent = json.dumps({"model": "toy", "prompt": "w"} | dict.fromkeys(names[:4], 1))
    header = toy_client.post(PATH, content=sent).headers["x-ignored-parameters"]
    assert header == "a%0D%0Aset-cookie%3A%20x,%C3%A9%2C,%3F,"
    for subset in names[4:5], names[5:]:
        header = post(toy_client, **dict.fromkeys(subset, 1)).headers["x-ignored-parameters"]
        assert len(header) < 1100 and header.endswith("...")


def test_strict_mode_refuses_unknown_fields() -> None:
    served = toy_model()
    client = TestClient(create_app([served], strict=True))
    response = post(client, n=9, best_of=3, stream_options={"x": 1}, zoo=[LONG])
    assert error_locations(response) == [
        ("less_than_equal", ["n"]),
        ("extra_forbidden", ["best_of"]),
        ("extra_forbidden", ["zoo"]),
        ("extra_forbidden", ["stream_options", "x"]),
    ]
    assert response.json()["detail"][1]["input"] == 3
    assert len(response.content) < 2000
    assert post(client, best_of=1).status_code == 422
    assert post(client).status_code == 200
    assert len(post(client, **{f"f{i}": 1 for i in range(1000)}).json()["detail"]) <= 100
    served.engine.close()
