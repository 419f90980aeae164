"""Tables of the command line: the steps and the draw of a token, and the log-probabilities."""

from rich.box import HEAVY_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from reference import sampler
from reference.explain import Explanation, explain
from reference.logits import Logits
from reference.output_text import LogprobsEntry, TokenDisplay

MAX_ROWS = 8  # most likely tokens of a column
MAX_SCORES = 4
MAX_WIDTH = 1000  # columns of a terminal
MAX_NAME = 20  # characters of a token
# Names of the steps in a table that would be too wide: at most 6 characters per line.
NARROW = {
    "allowed": "al-\nlowed",
    "response_format": "re-\nsponse\nformat",
    "repetition_penalty": "repe-\ntition\npenal-\nty",
    "frequency_penalty": "fre-\nquency\npenal-\nty",
    "presence_penalty": "pres-\nence\npenal-\nty",
    "temperature": "tempe-\nrature",
}


class Explainer:
    """A sampler that prints two tables for each token that it samples.

    The first has a column for each step that changed the distribution. Rows: the most likely tokens
    of the model, those after all steps, the sampled one, and all others together. The second shows
    the draw: the best sums of logit and noise.
    """

    def __init__(self, display: TokenDisplay, console: Console) -> None:
        self.display = display
        self.console = console
        self.num_sampled = 0

    def __call__(self, logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        explanation = explain(logits, history, noise)
        steps = self.steps(explanation)
        unbounded = self.console.options.update(max_width=MAX_WIDTH)
        if Measurement.get(self.console, unbounded, steps).maximum > self.console.width:
            steps = self.steps(explanation, narrow=True)
        self.console.print(steps)
        self.console.print(self.draw(explanation))
        self.num_sampled += 1
        return explanation.token

    def steps(self, explanation: Explanation, *, narrow: bool = False) -> Table:
        """Build the table of the steps. narrow: whether it must fit 80 columns."""
        stages = [s for s in explanation.stages if s.changed or s is explanation.stages[0]]
        rows = explanation.top_tokens(MAX_ROWS)
        table = Table(
            title=f"token {self.num_sampled}",
            title_justify="left",
            show_footer=True,
            padding=(0, 1, 0, 0) if narrow else (0, 1),
            box=None if narrow else HEAVY_HEAD,
        )
        table.add_column("id", "", justify="right", no_wrap=True)
        table.add_column("token", "left" if narrow else "tokens left", no_wrap=True)
        for stage in stages:
            name, count = header(stage.name, narrow), str(stage.kept)
            table.add_column(name, count, justify="right", no_wrap=True)
        for i in rows:
            cells = [probability(float(stage.probabilities[i])) for stage in stages]
            style = "bold green" if i == explanation.token else None
            table.add_row(str(i), self.name(i, narrow), *cells, style=style)
        others = [probability(stage.others(rows)) for stage in stages]
        table.add_row("", "others", *others, style="dim")
        return table

    def draw(self, explanation: Explanation) -> Table:
        """Build the table of the draw: logit + noise = score. The best score wins."""
        table = Table(title="draw: the best score wins", title_justify="left")
        for name in ("id", "logit", "noise", "score"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("token", no_wrap=True)
        final = explanation.stages[-1].logits
        for i in explanation.top_scores(MAX_SCORES):
            numbers = (final[i], explanation.noise[i], explanation.scores[i])
            style = "bold green" if i == explanation.token else None
            table.add_row(str(i), *(f"{x:.4f}" for x in numbers), self.name(i), style=style)
        return table

    def name(self, token: int, narrow: bool = False) -> str:
        """Return the text of a token as ASCII, cut to the width of its column."""
        width = MAX_NAME // 2 if narrow else MAX_NAME
        text = ascii(self.display.name(token))
        return text if len(text) <= width else text[: width - 1] + "~"


def header(step: str, narrow: bool) -> str:
    """Return the name of a step in lines."""
    return NARROW.get(step, step) if narrow else step.replace("_penalty", "\npenalty")


def probability(p: float) -> str:
    """Format a probability; `·` for 0."""
    return f"{p:.4f}" if p > 0 else "·"


def logprob_table(entries: list[LogprobsEntry]) -> Table:
    """Build the table of the log-probabilities of one choice."""
    table = Table("offset", "token", "log-probability", "top tokens")
    for e in entries:
        value = "" if e.logprob is None else f"{e.logprob:.4f}"
        top = ", ".join(f"{ascii(name)} {v:.2f}" for name, v in (e.top or {}).items())
        table.add_row(str(e.offset), ascii(e.token), value, top)
    return table
