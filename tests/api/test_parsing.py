"""Large bodies: how deep they go is judged without recursion, and not where others wait."""

import asyncio
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.schema.parsing import MAX_DEPTH, is_deep
from api.service import Service
from tests.api.asgi import Call
from tests.api.toy import toy

TEXTS = st.text(st.sampled_from('[]{}"\\n é'), max_size=8)
JSON = st.recursive(
    TEXTS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)


def depth(value: Any) -> int:
    """The definition."""
    if not isinstance(value, dict | list):
        return 0
    items = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, items), default=0)


@given(value=JSON, more=st.integers(MAX_DEPTH - 5, MAX_DEPTH + 1), ascii_only=st.booleans())
def test_depth_is_that_of_the_brackets_outside_of_strings(
    value: Any, more: int, ascii_only: bool
) -> None:
    for _ in range(more):
        value = ["[\\", value, "]"]
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert is_deep(body) == (depth(value) > MAX_DEPTH)


def test_many_items_are_not_deep() -> None:
    assert not is_deep(b'{"prompt": [' + b'[1], "[[[",' * 100_000 + b"[1]]}")
    assert is_deep(b"[" * 10_000_000)


def test_a_body_is_read_on_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of items take seconds, in which others want answers."""
    readers: list[threading.Thread] = []
    read = Service.read

    def watched(service: Service, body: bytes) -> Any:
        readers.append(threading.current_thread())
        return read(service, body)

    monkeypatch.setattr(Service, "read", watched)
    served = toy()
    call = Call([b'{"model": "toy", "prompt": "w"}'])
    asyncio.run(call.run(create_app([served])))
    served.engine.close()
    assert call.status == 200
    assert readers and threading.current_thread() not in readers
