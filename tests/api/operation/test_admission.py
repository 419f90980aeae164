"""Admission: the sequences in flight, their shares, and the time after which to retry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api import admission
from api.admission import Admission
from api.app import create_app
from api.errors import ApiError
from tests.api.conftest import Build
from tests.api.http_client import post


@given(
    st.integers(1, 20),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 25))),
)
def test_limit_and_shares_hold(limit: int, fair: bool, requests: list[tuple[str, int]]) -> None:
    """Requests that are never finished: what is admitted stays within the limit and the share."""
    control = Admission(limit, fair=fair)
    own = {"a": 0, "b": 0}
    admitted = []
    for principal, prompts in requests:
        room = limit - sum(own.values())
        fits = prompts <= room
        if fair and own[principal]:
            fits = fits and own[principal] + prompts <= admission.SHARE * (room - prompts)
        context = control.admit(principal, prompts, 1)
        if fits:
            context.__enter__()
            admitted.append(context)
            own[principal] += prompts
        else:
            with pytest.raises(ApiError) as refused:
                context.__enter__()
            assert refused.value.status == (400 if prompts > limit else 429)
        assert control.in_flight == sum(own.values())
    for context in admitted:
        context.__exit__(None, None, None)
    assert control.in_flight == 0


def test_flood_leaves_room_for_another_principal() -> None:
    control = Admission(20, fair=True)
    contexts = [control.admit("flood", 1, 1) for _ in range(20)]
    admitted = 0
    for context in contexts:
        try:
            context.__enter__()
        except ApiError:
            break
        admitted += 1
    assert admitted == 16
    with control.admit("other", 2, 2):
        assert control.in_flight == 20


@given(st.integers(5, 300), st.lists(st.integers(1, 60), min_size=1))
def test_requests_of_one_principal_leave_a_fifth(limit: int, sizes: list[int]) -> None:
    """The first may be larger; the others leave room for another principal."""
    control = Admission(limit, fair=True)
    own = 0
    for size in sizes:
        try:
            control.admit("a", size, 1).__enter__()
        except ApiError:
            continue
        assert not own or limit - control.in_flight >= control.in_flight / admission.SHARE
        own += size


def test_finished_requests_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(admission.time, "monotonic", lambda: now[0])
    control = Admission(10, fair=False)
    for _ in range(1000):
        with control.admit("", 1, 1):
            now[0] += 1
    assert len(control._finished) <= admission.WINDOW + 1


def test_failed_request_does_not_count_as_served() -> None:
    control = Admission(10, fair=False)
    with pytest.raises(RuntimeError), control.admit("", 1, 1):
        raise RuntimeError
    assert not control._finished and control.in_flight == 0


def test_retry_after_follows_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten sequences have finished in five seconds, so four more take two seconds."""
    now = [100.0]
    monkeypatch.setattr(admission.time, "monotonic", lambda: now[0])
    control = Admission(10, fair=False)
    assert control.retry_after(4) == 1
    for _ in range(10):
        with control.admit("", 1, 1):
            pass
    now[0] += 5
    assert control.retry_after(4) == 2
    assert control.retry_after(1000) == admission.MAX_RETRY_AFTER
    now[0] += admission.WINDOW + 1
    assert control.retry_after(4) == 1


def test_keys_make_shares(build: Build) -> None:
    """A single key, or none, may use the whole limit."""
    for keys, fair in ([], False), (["k"], False), (["k", "l"], True):
        app = create_app([build()], keys=keys)
        [handle] = app.state.service.handles.values()
        assert handle.admission.fair is fair


def test_refusal_has_retry_after(build: Build) -> None:
    app = create_app([build()], max_concurrency=1)
    [handle] = app.state.service.handles.values()
    with handle.admission.admit("", 1, 1):
        response = post(TestClient(app))
    assert response.status_code == 429 and int(response.headers["retry-after"]) >= 1
