"""One replica: the engine's own scheduler, with simulated seconds."""

from dataclasses import dataclass, field

from benchmarks.capacity.arrivals import Arrival
from benchmarks.capacity.costs import Costs
from jax_backend.serving.scheduling.scheduler import Scheduler
from reference.params import CompletionParams
from reference.request import Request

CONTEXT = 4096


@dataclass(frozen=True)
class Served:
    """A request that has ended. first_token: seconds from its arrival. seconds: of its end."""

    arrival: Arrival
    first_token: float
    seconds: float


@dataclass
class Replica:
    """A scheduler and its clock. served: the requests that have ended."""

    costs: Costs
    now: float = 0.0
    served: list[Served] = field(default_factory=list)

    def __post_init__(self) -> None:
        costs = self.costs
        self.scheduler = Scheduler(
            slots=costs.slots,
            num_pages=costs.num_pages,
            page_size=costs.page_size,
            layout=costs.layout,
            batch_sizes=costs.batch_sizes,
            cache_output=True,
            context=CONTEXT,
        )
        self._arrivals: dict[int, Arrival] = {}
        self._first: dict[int, float] = {}

    @property
    def unfinished(self) -> int:
        return len(self._arrivals)

    def submit(self, request_id: int, arrival: Arrival) -> None:
        """Queue a request at its arrival, after `advance`."""
        self.now = max(self.now, arrival.seconds)
        self._arrivals[request_id] = arrival
        tokens = [arrival.session, *range(1, arrival.prompt_tokens)]
        params = CompletionParams(max_tokens=arrival.output_tokens, seed=0)
        self.scheduler.add(request_id, Request.of(tokens, params), lambda event: None)

    def advance(self, seconds: float) -> None:
        """Run the steps that start before a moment."""
        while self.scheduler.busy and self.now < seconds:
            plan = self.scheduler.schedule()
            self.now += self.costs.seconds(plan)
            for row in plan.rows:
                sequence = row.sequence
                request_id = sequence.state.request_id
                # The output continues the text of the session.
                sequence.tokens.append(len(sequence.state.prompt) + len(sequence.tokens))
                self._first.setdefault(request_id, self.now)
                if len(sequence.tokens) == sequence.state.budget:
                    self.scheduler.finish(sequence)
                    arrival = self._arrivals.pop(request_id)
                    first = self._first.pop(request_id) - arrival.seconds
                    self.served.append(Served(arrival, first, self.now))
