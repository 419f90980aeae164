"""Tests samples against the expected distribution, and explains deviations by dialects."""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from conformance.fixtures.prompts import PROMPTS
from conformance.harness.once import once_per_run
from conformance.http.client import Server
from conformance.http.exchange import Exchange
from conformance.oracle import dialects
from conformance.oracle.dialects import Chain
from conformance.oracle.prompt_search import non_default
from conformance.oracle.reported_rows import first_step
from conformance.oracle.sampling import NUM_SAMPLES, sample_choices
from conformance.oracle.statistics import Distribution, log_e_value, log_likelihood, rejects
from conformance.verdicts import Failed, NonStrict
from reference.sampler import final_logits

SAMPLES_PER_LOOK = 40  # e-values are valid at any time, so a clear case can end early
COMPARABLE = math.log(100)  # likelihood ratio up to which two explanations are both reported
LEFT_OUT = " left out"
REPLACEMENT_CHARACTER = "\ufffd"

Texts = Mapping[str, float]
T = TypeVar("T")


def assert_first_token_distribution(server: Server, prompt: str, params: Mapping[str, Any]) -> None:
    """Require that first tokens of completions follow the reference's distribution."""
    oracle = server.oracle
    step = first_step(server, prompt, params)

    def texts(chain: Chain) -> Texts:
        return oracle.text_probabilities(prompt, chain(step.logits, step.history))

    strips_space = strips_leading_space(server)
    spec = texts(final_logits)
    known = {d.name: texts(d.final) for d in dialects.dialects_for(params)}
    ignored = {name: texts(dialects.without_parameter(name)) for name in non_default(params)}
    samples: list[str] = []
    while len(samples) < NUM_SAMPLES:
        choices = sample_choices(server, SAMPLES_PER_LOOK, prompt=prompt, **params)
        samples += [choice.text for choice in choices]
        form = TextForm(strips_space, not any(REPLACEMENT_CHARACTER in text for text in samples))
        judge(
            server.alpha,
            [form.of(text) for text in samples],
            form.merge(spec),
            {name: form.merge(p) for name, p in known.items()},
            {name: form.merge(p) for name, p in ignored.items()},
            choices[-1].at,
        )


@dataclass(frozen=True)
class TextForm:
    """Known differences of first texts, which separate checks report: a leading space is removed,
    or an incomplete character has no text instead of U+FFFD. Texts that differ only in this are
    merged, which makes a test weaker and never wrong.
    """

    strips_space: bool
    drops_incomplete: bool

    def of(self, text: str) -> str:
        text = text.removeprefix(" ") if self.strips_space else text
        return text.rstrip(REPLACEMENT_CHARACTER) if self.drops_incomplete else text

    def merge(self, texts: Texts) -> Texts:
        """Return the probabilities of texts in this form."""
        merged: dict[str, float] = {}
        for text, p in texts.items():
            merged[self.of(text)] = merged.get(self.of(text), 0.0) + p
        return merged


def judge(
    alpha: float,
    samples: Sequence[Hashable],
    spec: Distribution,
    known: Mapping[str, Distribution],
    ignored: Mapping[str, Distribution],
    at: Exchange | None,
) -> None:
    """Test samples (texts or token ids) against the distribution of the specification.

    alpha: the error rate. known: the distributions of dialects. ignored: those without one of the
    parameters. Raises NonStrict if a dialect explains samples that the specification does not, else
    Failed.
    """
    others = [*known.values(), *ignored.values()]
    if not rejects(log_e_value(samples, spec, others), alpha):
        return
    counts = Counter(samples)
    scores = {
        name: log_likelihood(counts, q)
        for name, q in (*known.items(), *label_omissions(ignored).items())
        if not rejects(log_e_value(samples, q), alpha)
    }
    raise best_explanation(
        format_distribution(spec), format_samples(samples, spec), scores, known, at
    )


def label_omissions(ignored: Mapping[str, T]) -> dict[str, T]:
    """Replace the names of parameters by explanations."""
    return {f"{name}{LEFT_OUT}": value for name, value in ignored.items()}


def best_explanation(
    expected: str,
    seen: str,
    scores: Mapping[str, float],
    known: Collection[str],
    at: Exchange | None,
) -> Failed:
    """Return the outcome that names the best explanations.

    scores: log-likelihoods of explanations. known: the names of dialects among them. The outcome is
    NonStrict if each explanation that is about as likely as the best is a dialect.
    """
    best = max(scores.values(), default=-math.inf)
    if math.isinf(best):
        return Failed(expected, seen, at=at)
    explanations = [name for name, score in scores.items() if best - score < COMPARABLE]
    kind = NonStrict if set(explanations) <= set(known) else Failed
    outcome = kind(expected, seen, note=" or ".join(explanations), at=at)
    omitted = [name.removesuffix(LEFT_OUT) for name in explanations if name.endswith(LEFT_OUT)]
    outcome.suspects = tuple(omitted)
    return outcome


@once_per_run
def strips_leading_space(server: Server) -> bool:
    """Return whether a server removes the space at the beginning of an output.

    A separate check reports that. Here, texts that differ only in that space are merged.
    """
    return any(has_stripped_space(server, prompt) for prompt in PROMPTS)


def has_stripped_space(server: Server, prompt: str) -> bool:
    """Return whether the greedy first token after a prompt comes without its leading space."""
    step = server.oracle.first_step(prompt, {"temperature": 0})
    best = int(np.argmax(final_logits(step.logits, step.history)))
    text = server.oracle.token_text(prompt, best)
    if not text.startswith(" "):
        return False
    seen = server.complete(prompt=prompt, max_tokens=1, temperature=0).text
    return seen == text.removeprefix(" ")


def format_distribution(p: Distribution) -> str:
    """Return the eight most likely texts or ids with their probabilities."""
    top = sorted(p.items(), key=lambda item: -item[1])[:8]
    rest = f", {len(p) - 8} more" if len(p) > 8 else ""
    return ", ".join(f"{text!r} {value:.3f}" for text, value in top) + rest


def format_samples(samples: Sequence[Hashable], spec: Distribution) -> str:
    """Return the frequencies of samples, impossible ones first."""
    counts = Counter(samples)
    impossible = [
        f"{t!r} {c} of {len(samples)}, which has probability 0"
        for t, c in counts.items()
        if not spec.get(t)
    ]
    top = [f"{t!r} {c / len(samples):.3f}" for t, c in counts.most_common(8) if spec.get(t)]
    return ", ".join([*impossible[:4], *top])
