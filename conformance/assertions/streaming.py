"""Compares a stream with the response to the same request without `stream`."""

from typing import Any

from conformance.assertions.basic import assert_same_choices
from conformance.http.client import Server
from conformance.http.response import Choice


def assert_stream_equals_response(server: Server, **fields: Any) -> list[Choice]:
    """Assert that the joined parts of a stream equal the non-streamed response. Return the choices
    of the response.
    """
    choices = server.complete(**fields).choices
    streamed = server.stream(**fields).completion.choices
    assert_same_choices(choices, streamed, "the same choices with and without a stream")
    return choices
