"""Fair scheduling between principals, simulated on the scheduler with a toy device."""

from hypothesis import given
from hypothesis import strategies as st

from jax_backend.serving.scheduling.fairness import TokenCounters
from jax_backend.serving.scheduling.scheduler import Scheduler
from jax_backend.serving.settings import PrefillLayout
from tests.jax_backend.serving.test_scheduler import request, run_step, scheduler_with_device
from tests.jax_backend.serving.toy_device import ToyDevice

SLOTS, CONTEXT = 4, 40
SIZES = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=20)


def scheduler() -> tuple[Scheduler, ToyDevice]:
    return scheduler_with_device(
        slots=SLOTS,
        num_pages=SLOTS * CONTEXT // 4,
        page_size=4,
        layout=PrefillLayout(segment_size=4, sizes=(2,)),
        context=CONTEXT,
    )


def waiting(scheduler: Scheduler) -> set[str]:
    return {prefill.state.request.principal for prefill in scheduler.prefills.waiting}


@given(SIZES, SIZES, st.booleans())
def test_backlogged_principals_get_equal_shares(
    a: list[tuple[int, int]], b: list[tuple[int, int]], alternate: bool
) -> None:
    """While both have requests that wait, their tokens differ by at most two full batches: theorem
    4.4 of Sheng et al. 2024.
    """
    s, device = scheduler()
    queue = [("a", *size) for size in a] + [("b", *size) for size in b]
    if alternate:
        queue.sort(key=lambda entry: entry[1:])
    for i, (principal, prompt, output) in enumerate(queue):
        # Prompts differ in their first token, so none is cached.
        s.add(i, request([100 + i, *range(prompt - 1)], principal, max_tokens=output), print)
    while waiting(s) == {"a", "b"}:
        run_step(s, device)
        assert abs(s.counters.served["a"] - s.counters.served["b"]) <= 2 * SLOTS * CONTEXT


@given(st.integers(SLOTS, 60), st.integers(1, 30))
def test_flood_does_not_delay_another_principal(flood: int, steps: int) -> None:
    """A principal's first request is the next to start, however many others wait."""
    s, device = scheduler()
    for i in range(flood):
        s.add(i, request([i, 1, 2, 3], "flood", max_tokens=10), print)
    for _ in range(steps):
        run_step(s, device)
    started = s.prefills.num_started
    late = s.add(flood, request([1000], "other", max_tokens=10), print)
    while late.start_order is None:
        run_step(s, device)
    assert late.start_order == started


@given(st.integers(1, 30), st.integers(1, 30))
def test_requests_of_one_principal_start_in_order(count: int, output: int) -> None:
    s, device = scheduler()
    states = [
        s.add(i, request([i] * (1 + i % 7), "a", max_tokens=1 + (output * i) % 9), print)
        for i in range(count)
    ]
    while s.busy:
        run_step(s, device)
    assert [state.start_order for state in states] == list(range(count))
    assert not s.counters.served and not s.counters.unfinished


def test_idle_principal_gets_no_credit() -> None:
    counters = TokenCounters()
    counters.add_request("a")
    counters.charge("a", 100)
    counters.add_request("b")
    assert counters.served["b"] == 100
    counters.remove_request("b")
    counters.charge("a", 50)
    counters.add_request("b")
    assert counters.served["b"] == 150


def test_principal_does_not_lose_its_debt_by_a_pause() -> None:
    counters = TokenCounters()
    counters.add_request("a")
    counters.add_request("b")
    counters.charge("b", 80)
    counters.remove_request("b")
    counters.charge("a", 10)
    counters.add_request("b")
    assert counters.served == {"a": 10, "b": 80}
