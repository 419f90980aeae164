"""The simulated launch policies: deterministic, with the default costs of a launch."""

import pytest

from benchmarks.simulation import WORKLOADS, Clock, layouts, simulate

LAYOUTS = layouts(slots=32, launch_cost=26)


def run(workload: str, policy: str) -> Clock:
    queue, clock = simulate(WORKLOADS[workload], 32, LAYOUTS[policy], 0.95e-3, 0.4e-3)
    tokens = {i: output for i, (_, _, output) in enumerate(queue)}
    assert {i: len(times) for i, times in clock.tokens.items()} == tokens
    return clock


@pytest.mark.parametrize("workload", WORKLOADS)
def test_requests_end_sooner_if_decoding_waits_for_prefill(workload: str) -> None:
    seconds = [run(workload, f"packed, decode after {n} launches").now for n in (2, 4)]
    assert run(workload, "packed").now > seconds[0] > seconds[1]


def test_short_prompts_share_launches() -> None:
    packed, alone = (
        run("32 at once, 32 + 48", name) for name in ("packed", "one prompt per launch")
    )
    assert packed.now < alone.now / 2
