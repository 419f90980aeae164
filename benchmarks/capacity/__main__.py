"""Command line: python -m benchmarks.capacity --help"""

import argparse
from pathlib import Path

from benchmarks.capacity.arrivals import conversations, read_arrivals
from benchmarks.capacity.cluster import MAX_SIMULATED, ROUTERS, simulate
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.plan import smallest_count

SCALES = (1, 2, 4, 8, 16, 100, 1000, 10_000)
SECONDS = 120.0


def scaling_rows(rate: float, costs: Costs) -> list[str]:
    """Return table rows: `rate` requests per second for each replica, from 1 to 10,000 replicas.

    Of more than MAX_SIMULATED replicas these many are simulated, with their share of the sessions
    or of the requests: routers that do not look at the load divide a Poisson process.
    """
    rows = []
    for count in SCALES:
        simulated = min(count, MAX_SIMULATED)
        of_session = conversations(rate * simulated, SECONDS)
        of_request = conversations(rate * count, SECONDS, kept=simulated / count)
        for router in ROUTERS:
            if router == "least loaded" and simulated < count:
                continue
            arrivals = of_session if router == "session" else of_request
            outcome = simulate(arrivals, simulated, router, costs)
            rows.append(
                f"| {count:,} | {router} | {outcome.percentile(0.5):.2f} | "
                f"{outcome.percentile(0.99):.2f} | {outcome.cached_share:.0%} | "
                f"{outcome.tokens_per_second * count / simulated:,.0f} |"
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity",
        description="How many replicas hold a load within a target of latency, and what routing by "
        "session is worth.",
    )
    option = parser.add_argument
    option("--arrivals", type=Path, help="JSON list of [seconds, prompt, output, session?]")
    option("--rate", type=float, default=10.0, help="requests per second of random conversations")
    option("--seconds", type=float, default=SECONDS)
    option("--ttft-p99", type=float, default=2.0, help="target: seconds to the first token")
    option(
        "--scaling", type=float, metavar="RATE", help="table of 1 to 10,000 replicas at RATE each"
    )
    option("--slots", type=int, default=32)
    option("--row-ms", type=float, default=0.95)
    option("--launch-cost", type=int, default=26)
    option("--page-ms", type=float, default=0.4)
    options = parser.parse_args()
    costs = Costs(
        slots=options.slots,
        row_seconds=options.row_ms / 1000,
        launch_cost=options.launch_cost,
        page_seconds=options.page_ms / 1000,
    )
    if options.scaling:
        print("| replicas | router | first token p50, s | p99, s | cached prompt | tokens/s |")
        print("|---|---|---|---|---|---|")
        print("\n".join(scaling_rows(options.scaling, costs)))
        return
    if options.arrivals:
        arrivals = read_arrivals(options.arrivals)
    else:
        arrivals = conversations(options.rate, options.seconds)
    print("| router | replicas | first token p50, s | p99, s | cached prompt | tokens/s |")
    print("|---|---|---|---|---|---|")
    for router in ROUTERS:
        count, outcome = smallest_count(arrivals, router, costs, options.ttft_p99)
        print(
            f"| {router} | {count} | {outcome.percentile(0.5):.2f} | "
            f"{outcome.percentile(0.99):.2f} | {outcome.cached_share:.0%} | "
            f"{outcome.tokens_per_second:.0f} |"
        )


if __name__ == "__main__":
    main()
