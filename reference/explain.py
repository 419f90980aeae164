"""`--explain`: how each step of the sampler changed the distribution, token by token."""

import numpy as np
from rich.console import Console
from rich.table import Table

from reference import sampler
from reference.logits import Logits, probabilities
from reference.output_text import TokenDisplay

MAX_ROWS = 8


class Explainer:
    """A sampler that prints a table for each token that it samples.

    Rows: the most likely tokens of the model, and the sampled one. Columns: the probability after
    each step that changed the distribution. The last row counts the tokens that are left.
    """

    def __init__(self, display: TokenDisplay, console: Console) -> None:
        self.display = display
        self.console = console
        self.num_sampled = 0

    def __call__(self, logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        token = sampler.sample(logits, history, noise)
        top = np.argsort(-logits, kind="stable")[:MAX_ROWS].tolist()
        rows = top if token in top else [*top, token]
        self.console.print(self.table(changed_stages(logits, history), rows, token))
        self.num_sampled += 1
        return token

    def table(self, stages: list[tuple[str, Logits]], rows: list[int], sampled: int) -> Table:
        """Build a table: a row per token id, a column per stage, the sampled token highlighted."""
        counts = [str(int(np.isfinite(logits).sum())) for _, logits in stages]
        table = Table(title=f"token {self.num_sampled}", title_justify="left", show_footer=True)
        table.add_column("id", "", justify="right")
        table.add_column("token", "tokens left")
        for (name, _), count in zip(stages, counts, strict=True):
            table.add_column(name, count, justify="right")
        columns = [probabilities(logits) for _, logits in stages]
        for i in rows:
            cells = [f"{p[i]:.4f}" if p[i] > 0 else "·" for p in columns]
            style = "bold green" if i == sampled else None
            table.add_row(str(i), ascii(self.display.name(i)), *cells, style=style)
        return table


def changed_stages(logits: Logits, history: sampler.SamplingHistory) -> list[tuple[str, Logits]]:
    """Return the model's logits, and those after each step that changed a probability."""
    stages = [("model", logits)]
    for name, after in sampler.trace(logits, history):
        if not np.array_equal(probabilities(after), probabilities(stages[-1][1])):
            stages.append((name, after))
    return stages
