"""`--explain`: how each step of the sampler reshaped the distribution, token by token."""

import numpy as np
from rich.console import Console
from rich.table import Table

from reference import sampler
from reference.logits import Logits, probabilities
from reference.output_text import TokenDisplay

ROWS = 8


class Explainer:
    """A sampler that prints a table for each token that it draws.

    A row is one of the tokens that the model finds likeliest, or the one that was drawn; a column
    is its probability after a step that changed something. The last row counts the tokens that are
    left.
    """

    def __init__(self, names: TokenDisplay, console: Console) -> None:
        self.names = names
        self.console = console
        self.drawn = 0

    def __call__(self, logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        token = sampler.sample(logits, history, noise)
        stages = changes(logits, history)
        likeliest = np.argsort(-logits, kind="stable")[:ROWS].tolist()
        shown = likeliest if token in likeliest else [*likeliest, token]
        self.console.print(self.table(stages, shown, token))
        self.drawn += 1
        return token

    def table(self, stages: list[tuple[str, Logits]], shown: list[int], token: int) -> Table:
        kept = [str(int(np.isfinite(logits).sum())) for _, logits in stages]
        table = Table(title=f"token {self.drawn}", title_justify="left", show_footer=True)
        table.add_column("id", "", justify="right")
        table.add_column("token", "tokens left")
        for (name, _), count in zip(stages, kept, strict=True):
            table.add_column(name, count, justify="right")
        columns = [probabilities(logits) for _, logits in stages]
        for i in shown:
            cells = [f"{p[i]:.4f}" if p[i] > 0 else "·" for p in columns]
            style = "bold green" if i == token else None
            table.add_row(str(i), ascii(self.names.name(i)), *cells, style=style)
        return table


def changes(logits: Logits, history: sampler.SamplingHistory) -> list[tuple[str, Logits]]:
    """The model's logits, and those after each step that changed a probability."""
    stages = [("model", logits)]
    for name, after in sampler.trace(logits, history):
        if not np.array_equal(probabilities(after), probabilities(stages[-1][1])):
            stages.append((name, after))
    return stages
