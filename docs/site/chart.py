"""Charts of the sampler's steps: probabilities before and after, computed by the reference."""

from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO

import numpy as np
from jaxtyping import Float64
from matplotlib import rc_context
from matplotlib.figure import Figure

from reference import logits, threefry
from reference.logits import Logits

PROBABILITIES = np.array([0.34, 0.22, 0.14, 0.1, 0.1, 0.05, 0.03, 0.02], np.float32)
COUNTS = np.array([1, 0, 2, 0, 0, 0, 0, 0])  # of the tokens in the text
COLORS = ("#9ca3af", "#7c3aed", "#d97706")
DRAW_COLORS = (*COLORS[1:], "#0d9488")


@dataclass(frozen=True)
class Chart:
    """A step with some of its values, the first of which is off."""

    values: tuple[float, float, float]
    apply: Callable[[Logits, float], Logits]


CHARTS = {
    "temperature": Chart((1, 0.5, 2), logits.temperature),
    "top_p": Chart((1, 0.8, 0.5), logits.top_p),
    "min_p": Chart((0, 0.2, 0.5), lambda x, f: logits.min_p(x - x.max(), f)),
    "top_k": Chart((0, 4, 2), lambda x, k: logits.top_k(x, int(k))),
    "repetition_penalty": Chart(
        (1, 1.3, 2), lambda x, p: logits.repetition_penalty(x, COUNTS > 0, p)
    ),
    "frequency_penalty": Chart((0, 0.5, 1), lambda x, p: logits.frequency_penalty(x, COUNTS, p)),
    "presence_penalty": Chart((0, 0.5, 1), lambda x, p: logits.presence_penalty(x, COUNTS, p)),
}


# Parameters of the noise: values, and the (seed, choice) of each.
DRAWS = {
    "seed": {"seed 1": (1, 0), "seed 2": (2, 0), "seed 3": (3, 0)},
    "n": {"choice 0": (7, 0), "choice 1": (7, 1), "choice 2": (7, 2)},
}


def charts() -> dict[str, str]:
    """Return the SVG of each chart, by its file name."""
    steps = {f"{name}.svg": svg(name, chart) for name, chart in CHARTS.items()}
    return steps | {f"{name}.svg": draws_svg(name, draws) for name, draws in DRAWS.items()}


def probabilities(chart: Chart, value: float) -> Float64[np.ndarray, "8"]:
    """Return the probabilities after the step with a value."""
    changed = chart.apply(np.log(PROBABILITIES), value)
    return logits.probabilities(changed)


def svg(name: str, chart: Chart) -> str:
    """Return a bar chart, a group for each token, a color for each value."""
    figure = Figure(figsize=(7, 2.8))
    axes = figure.subplots()
    tokens, width = np.arange(len(PROBABILITIES)), 0.8 / len(chart.values)
    for i, (value, color) in enumerate(zip(chart.values, COLORS, strict=True)):
        label = f"{name} {value:g}" + (" (off)" if i == 0 else "")
        axes.bar(tokens + i * width, probabilities(chart, value), width, color=color, label=label)
    labels = [f"token {i}" + (f"\n{n} × in the text" if n else "") for i, n in enumerate(COUNTS)]
    axes.set_xticks(
        tokens + width, labels=labels if "penalty" in name else [f"token {i}" for i in tokens]
    )
    axes.tick_params(length=0, labelsize=8)
    axes.set_ylabel("probability")
    return finished(figure, name)


def draws_svg(name: str, draws: dict[str, tuple[int, int]]) -> str:
    """Return a chart of the scores of each token, of which the best one is filled."""
    figure = Figure(figsize=(7, 2.8))
    axes = figure.subplots()
    tokens, final = np.arange(len(PROBABILITIES)), np.log(PROBABILITIES)
    axes.scatter(tokens - 0.3, final, marker="_", color=COLORS[0], label="final logit")
    for i, (label, (seed, choice)) in enumerate(draws.items()):
        scores = final + threefry.noise(seed, choice, 0, len(final))
        faces = ["none"] * len(final)
        faces[int(np.argmax(scores))] = DRAW_COLORS[i]
        axes.scatter(
            tokens + 0.15 * (i - 1), scores, facecolor=faces, edgecolor=DRAW_COLORS[i], label=label
        )
    axes.set_xticks(tokens, labels=[f"token {i}" for i in tokens])
    axes.tick_params(length=0, labelsize=8)
    axes.set_ylabel("logit, score")
    return finished(figure, name)


def finished(figure: Figure, name: str) -> str:
    """Return a figure with one pair of axes as SVG, the same in every build."""
    [axes] = figure.axes
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    out = StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
