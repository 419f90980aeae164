"""Fair scheduling between principals, by tokens served.

Source: Sheng et al. 2024, "Fairness in Serving Large Language Models" (OSDI 24), algorithm 2: the
virtual token counter. Here a prompt token and an output token have the same weight.
"""

from collections import Counter


class TokenCounters:
    """The tokens served to each principal. The principal with the lowest counter is served next.

    A principal that becomes active starts at the lowest counter of the active ones, so it has no
    credit for the time in which it sent no requests. Without active principals all counters are
    dropped.
    """

    def __init__(self) -> None:
        self.served: Counter[str] = Counter()
        self.unfinished: Counter[str] = Counter()  # requests of the active principals

    def add_request(self, principal: str) -> None:
        """Count a request that has arrived."""
        if self.unfinished and principal not in self.unfinished:
            lowest = min(self.served[active] for active in self.unfinished)
            self.served[principal] = max(self.served[principal], lowest)
        self.unfinished[principal] += 1

    def remove_request(self, principal: str) -> None:
        """Count a request that has finished."""
        self.unfinished[principal] -= 1
        if not self.unfinished[principal]:
            del self.unfinished[principal]
        if not self.unfinished:
            self.served.clear()

    def charge(self, principal: str, tokens: int) -> None:
        """Count tokens that the principal has got."""
        self.served[principal] += tokens
