"""Capacity planning: replicas, routers, and the smallest number that holds a load."""

import json
from pathlib import Path

import pytest

from benchmarks.capacity.arrivals import Arrival, conversations, read_arrivals
from benchmarks.capacity.cluster import ROUTERS, cached_share, simulate
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.plan import smallest_count
from benchmarks.capacity.replica import Replica
from benchmarks.simulation import WORKLOADS
from benchmarks.simulation import layouts as simulation_layouts
from benchmarks.simulation import simulate as simulate_engine

COSTS = Costs()
SHORT = conversations(3.0, 25.0)


def test_single_request_takes_the_time_of_its_launches() -> None:
    """One launch for 100 prompt tokens, of 128 rows, and one for each of the output tokens."""
    outcome = simulate([Arrival(5.0, 101, 3, 0)], 1, "session", COSTS)
    prefill = (COSTS.launch_cost + 128) * COSTS.row_seconds
    decode = (COSTS.launch_cost + 1) * COSTS.row_seconds + 2 * COSTS.page_seconds
    assert outcome.first_token == [pytest.approx(prefill + decode)]


def test_burst_takes_as_long_as_in_the_simulation_of_the_engine() -> None:
    name = "32 at once, 256 + 64"
    layout = simulation_layouts(32, COSTS.launch_cost)["packed, decode after 4 launches"]
    seconds = COSTS.row_seconds, COSTS.page_seconds
    _, clock = simulate_engine(WORKLOADS[name], 32, layout, *seconds)
    burst = [
        Arrival(0.0, prompt, output, i) for i, (_, prompt, output) in enumerate(WORKLOADS[name])
    ]
    outcome = simulate(burst, 1, "session", COSTS)
    firsts = sorted(times[0] for times in clock.tokens.values())
    assert outcome.first_token == pytest.approx(firsts, rel=0.02)
    assert outcome.tokens_per_second == pytest.approx(32 * 64 / clock.now, rel=0.02)


@pytest.mark.parametrize("router", ROUTERS)
def test_requests_are_served(router: str) -> None:
    outcome = simulate(SHORT, 3, router, COSTS)
    assert len(outcome.first_token) == len(SHORT)
    assert all(seconds > 0 for seconds in outcome.first_token)


def test_sessions_hit_the_cache_of_their_replica() -> None:
    shares = {router: simulate(SHORT, 3, router, COSTS).cached_share for router in ROUTERS}
    assert shares["session"] > 1.5 * shares["random"]
    alone = simulate(SHORT, 1, "random", COSTS).cached_share
    assert shares["session"] == pytest.approx(alone, abs=0.1)


def test_prefix_is_that_of_the_session() -> None:
    replica = Replica(COSTS)
    for i, session in enumerate((1, 1, 2)):
        replica.submit(i, Arrival(10.0 * i, 200, 4, session))
        replica.advance(10.0 * i + 9)
    assert replica.scheduler.prefills.num_cached_tokens == 192
    assert cached_share([replica]) == pytest.approx(192 / 600)


def test_smallest_count_is_exact() -> None:
    arrivals = conversations(8.0, 20.0)
    count, outcome = smallest_count(arrivals, "session", COSTS, 1.5)
    assert count > 1 and outcome.percentile(0.99) <= 1.5
    fewer = simulate(arrivals, count - 1, "session", COSTS)
    assert fewer.percentile(0.99) > 1.5


def test_unreachable_target() -> None:
    with pytest.raises(ValueError, match="ttft-p99: 512 replicas do not reach 0.01 s"):
        smallest_count([Arrival(0.0, 100, 1, 0)], "session", COSTS, 0.01)


def test_recorded_arrivals(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.json"
    path.write_text(json.dumps([[2.5, 10, 3], [1, 20, 4, 9]]))
    assert read_arrivals(path) == [Arrival(1.0, 20, 4, 9), Arrival(2.5, 10, 3, -1)]
    path.write_text(json.dumps([[1, 2]]))
    with pytest.raises(ValueError, match="entry 0 must be"):
        read_arrivals(path)


def test_conversations_have_the_rate() -> None:
    arrivals = conversations(50.0, 40.0)
    assert 0.85 < len(arrivals) / (50 * 40) < 1.1
    half = conversations(50.0, 40.0, kept=0.5)
    assert 0.4 < len(half) / len(arrivals) < 0.6
    turns = [a for a in arrivals if a.session == arrivals[0].session]
    assert all(a.prompt_tokens < b.prompt_tokens for a, b in zip(turns, turns[1:], strict=False))
