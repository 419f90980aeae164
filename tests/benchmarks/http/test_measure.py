"""Latencies by hand, and every workload against the embedded model on a socket."""

from collections.abc import Iterator

import pytest

from api.app import create_app
from api.engine import ServedModel
from benchmarks.http.client import Outcome
from benchmarks.http.measure import latencies, measure, percentile, row
from benchmarks.http.servers import Server
from benchmarks.http.workloads import WORKLOADS, Client, Turn, Workload
from tests.api.conftest import running_server

VOCABULARY, SCALE = 1000, 0.1


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3.0], 99, 3.0), ([1.0, 2.0], 50, 1.0), ([float(i) for i in range(1, 101)], 99, 99.0)],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_latencies_of_two_streams() -> None:
    values = latencies([Outcome("g", (1.0, 1.5), 2), Outcome("g", (2.0, 2.25, 3.25), 3)])
    assert values is not None
    assert (values.ttft_p50, values.ttft_p99) == (1.0, 2.0)
    assert (values.itl_p50, values.itl_p99) == (0.5, 1.0)  # of 0.25, 0.5 and 1


def test_stream_of_one_event_has_no_inter_token_latency() -> None:
    values = latencies([Outcome("g", (1.0,), 1)])
    assert values is not None and (values.ttft_p99, values.itl_p50) == (1.0, None)
    assert latencies([]) is None


def test_failed_requests_do_not_count() -> None:
    turns = (Turn((300,), 4, group="a"), Turn((301,), 4, group="b"))
    workload = Workload("w", (Client(turns),))
    done, failed = Outcome("a", (1.0, 2.0), 4), Outcome("b", error="refused")
    measured = row(workload, "s", 3, 2.0, [done, failed])
    assert (measured.tokens_per_second, measured.completed, measured.sent) == (2.0, 1, 2)
    assert list(measured.latencies) == ["a"] and measured.errors == ("refused",)


@pytest.fixture(scope="module")
def server(jax_served: ServedModel) -> Iterator[Server]:
    with running_server(create_app([jax_served])) as address:
        yield Server("embedded", f"{address}/v1", jax_served.name)


@pytest.mark.parametrize("name", WORKLOADS)
def test_workload(name: str, server: Server) -> None:
    [measured] = measure([server], [name], 1, 0, VOCABULARY, SCALE)
    assert measured.errors == () and measured.completed == measured.sent > 0
    assert measured.tokens_per_second > 0
    for group in measured.latencies.values():
        assert 0 < group.ttft_p50 <= group.ttft_p99 < measured.seconds


def test_order_of_servers_alternates(server: Server) -> None:
    servers = [server, Server("same", server.url, server.model)]
    rows = list(measure(servers, ["single"], 2, 0, VOCABULARY, SCALE))
    assert [(r.round, r.server) for r in rows] == [
        (0, "embedded"),
        (0, "same"),
        (1, "same"),
        (1, "embedded"),
    ]
