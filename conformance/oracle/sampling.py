"""Samples of a server, held against a distribution."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from conformance.harness.capabilities import Capability, has
from conformance.http.client import Server
from conformance.http.exchange import Exchange
from conformance.http.response import Choice
from conformance.oracle import dialects
from conformance.oracle.dialects import Chain, Dialect
from conformance.oracle.statistics import log_evidence, log_likelihood, rejects
from conformance.oracle.truth import Step, Truth
from conformance.verdicts import Failed, Inconclusive, NonStrict
from reference.logits import Logits, probabilities
from reference.params import CompletionParams
from reference.sampler import final_logits

SAMPLES = 200
BATCH = 40  # after which one looks: the evidence is valid at any time
TOGETHER = 4  # requests in flight while samples are drawn
NUDGES = 8
ABOUT = math.log(100)  # by what factor an explanation must be worse than another to be none
TELLING = 0.2  # what two distributions must differ by to be told apart: see `apart_by`

# Beginnings after which a model of English is sure, doubtful, and in between.
PROMPTS = (
    "Once upon a time there was a",
    "The",
    "He wanted to make a",
    "One day she went to the",
    'She said, "I',
    "List three toys.\n1.",
    "Q: What is your favourite",
    "They were very",
    "It was a",
    "Then the dog and the",
)

# What changes nothing, of the parameters that some engines set to something else unless told.
NEUTRAL = {"top_p": 1, "min_p": 0, "top_k": 0, "repetition_penalty": 1}

Texts = Mapping[str, float]
T = TypeVar("T")


def neutral(server: Server) -> dict[str, Any]:
    """Those of `NEUTRAL` that the server takes. Each is tried once a run."""
    return {name: value for name, value in NEUTRAL.items() if takes(server, name, value)}


def takes(server: Server, name: str, value: Any) -> bool:
    """Whether a value of a parameter is no error."""

    def probe(server: Server) -> None:
        server.ask(max_tokens=1, **{name: value})

    return has(server, Capability(f"{name} {value}", probe))


def draw(server: Server, count: int = SAMPLES, **fields: Any) -> list[Choice]:
    """Completions of one token, each of a request with a seed of its own. What is not asked for is
    off; `...` leaves it out.
    """
    found: list[Choice] = []
    asked = {"max_tokens": 1, "temperature": 1} | neutral(server) | fields
    while len(found) < count:
        together = min(TOGETHER, count - len(found))
        bodies = [asked | fresh_seed(server) for _ in range(together)]
        found += [answer.choice for answer in server.ask_all(bodies)]
    return found


def fresh_seed(server: Server) -> dict[str, int]:
    """A seed of its own for a request, if the server takes any."""
    seed = server.rng.getrandbits(31)
    return {"seed": seed} if takes(server, "seed", 1) else {}


def judge(
    server: Server,
    samples: Sequence[str],
    spec: Texts,
    known: Mapping[str, Texts],
    ignored: Mapping[str, Texts],
    at: Exchange | None,
) -> None:
    """Samples against the distribution of the specification.

    known: those of dialects. ignored: those that would be right if a parameter had been left out.
    Raises NonStrict if a dialect explains what the specification does not, else Failed.
    """
    others = [*known.values(), *ignored.values()]
    if not rejects(log_evidence(samples, spec, others), server.alpha):
        return
    counts = Counter(samples)
    scores = {
        name: log_likelihood(counts, q)
        for name, q in (*known.items(), *left_out(ignored).items())
        if not rejects(log_evidence(samples, q), server.alpha)
    }
    raise explained(frequencies(spec), shown(samples, spec), scores, known, at)


def left_out(ignored: Mapping[str, T]) -> dict[str, T]:
    """By what is said of them."""
    return {f"{name} left out": value for name, value in ignored.items()}


def explained(
    expected: str,
    seen: str,
    scores: Mapping[str, float],
    known: Collection[str],
    at: Exchange | None,
) -> Failed:
    """What explains best what the specification does not: all that do so about as well as the best.
    scores: logarithms of likelihoods. known: the names of dialects among them.
    """
    best = max(scores.values(), default=-math.inf)
    if math.isinf(best):
        return Failed(expected, seen, at=at)
    fits = [name for name, score in scores.items() if best - score < ABOUT]
    kind = NonStrict if set(fits) <= set(known) else Failed
    return kind(expected, seen, note=" or ".join(fits), at=at)


def strips_leading_space(server: Server) -> bool:
    """Whether a server takes away the space that an output begins with. A check of its own looks at
    that; here tokens that are told apart by nothing else are taken together.
    """
    facts = server.target.facts
    if "drops the space" not in facts:
        facts["drops the space"] = any(without_space(server, prompt) for prompt in PROMPTS)
    return bool(facts["drops the space"])


def without_space(server: Server, prompt: str) -> bool:
    step = server.truth.first(prompt, {"temperature": 0})
    best = int(np.argmax(final_logits(step.logits, step.history)))
    text = server.truth.text(prompt, best)
    if not text.startswith(" "):
        return False
    return server.ask(prompt=prompt, max_tokens=1, temperature=0).text == text.removeprefix(" ")


def trimmed(texts: Texts) -> Texts:
    found: dict[str, float] = {}
    for text, p in texts.items():
        found[text.removeprefix(" ")] = found.get(text.removeprefix(" "), 0.0) + p
    return found


def frequencies(p: Texts) -> str:
    likeliest = sorted(p.items(), key=lambda item: -item[1])[:8]
    rest = f", {len(p) - 8} more" if len(p) > 8 else ""
    return ", ".join(f"{text!r} {value:.3f}" for text, value in likeliest) + rest


def shown(samples: Sequence[str], spec: Texts) -> str:
    """Frequencies, with those first that should not be there."""
    counts = Counter(samples)
    wrong = [
        f"{t!r} {c} of {len(samples)}, never to be drawn"
        for t, c in counts.items()
        if not spec.get(t)
    ]
    most = [f"{t!r} {c / len(samples):.3f}" for t, c in counts.most_common(8) if spec.get(t)]
    return ", ".join([*wrong[:4], *most])


def first_token(server: Server, prompt: str, params: Mapping[str, Any]) -> None:
    """The first tokens of many completions against the reference's distribution."""
    truth = server.truth
    step = truth.first(prompt, dict(params))

    def texts(chain: Chain) -> Texts:
        found = truth.texts(prompt, chain(step.logits, step.history))
        return trimmed(found) if trim else found

    trim = strips_leading_space(server)
    spec = texts(final_logits)
    known = {d.name: texts(d.final) for d in dialects.dialects_of(params)}
    ignored = {name: texts(dialects.ignoring(name)) for name in set_in(params)}
    samples: list[str] = []
    while len(samples) < SAMPLES:
        choices = draw(server, BATCH, prompt=prompt, **params)
        samples += [c.text.removeprefix(" ") if trim else c.text for c in choices]
        judge(server, samples, spec, known, ignored, choices[-1].at)


def set_in(params: Mapping[str, Any]) -> list[str]:
    """The parameters that do not have their defaults."""
    return [name for name, v in params.items() if v != getattr(CompletionParams(), name)]


def telling(
    truth: Truth,
    grid: Callable[[Logits], Iterable[Mapping[str, Any]]],
    apart: Iterable[str] = (),
    prompts: Iterable[str] = PROMPTS,
) -> tuple[str, dict[str, Any]]:
    """The prompt and the parameters under which the specification differs most from each of some
    dialects, and from what comes of leaving a parameter out; and does not hang on the tolerance.

    grid: the parameters to choose from, given the logits of a prompt. Raises Inconclusive if
    nothing tells them apart.
    """
    names = set(apart)
    suspects = [d for d in dialects.DIALECTS if d.name in names]
    assert len(suspects) == len(names), f"unknown among {names}"
    ranked = []
    for prompt in prompts:
        for params in grid(truth.logits(prompt)):
            step = truth.first(prompt, dict(params))
            ranked.append((distance(step, suspects, params), prompt, dict(params)))
    ranked.sort(key=lambda found: -found[0])
    for _, prompt, params in itertools.takewhile(lambda found: found[0] >= TELLING, ranked):
        if stable(truth.first(prompt, params), truth.tolerance):
            return prompt, params
    raise Inconclusive("this model has no prompt that would tell: " + (", ".join(names) or "it"))


def distance(step: Step, suspects: Sequence[Dialect], params: Mapping[str, Any]) -> float:
    """The least difference between the specification and what it is to be told from."""
    chains = [d.final for d in suspects]
    chains += [dialects.ignoring(name) for name in set_in(params)]
    spec = mass(final_logits, step)
    return min(apart_by(spec, mass(chain, step)) for chain in chains or [flat])


def apart_by(p: np.ndarray, q: np.ndarray) -> float:
    """Total variation; what only one of both can draw counts twice, for it shows sooner."""
    alone = max(float(p[q == 0].sum()), float(q[p == 0].sum()))
    return max(2 * alone, float(np.abs(p - q).sum()) / 2)


def flat(x: Logits, h: Any) -> Logits:
    """Of which every distribution is to be told."""
    return np.where(h.allowed, np.float32(0), np.float32(-np.inf))


def mass(chain: Chain, step: Step) -> np.ndarray:
    return probabilities(chain(step.logits, step.history))


def stable(step: Step, tolerance: float) -> bool:
    """Whether the same tokens are kept if the logits are off by the tolerance."""
    kept = np.isfinite(final_logits(step.logits, step.history))
    return all(
        (np.isfinite(final_logits(x, step.history)) == kept).all()
        for x in nudged(step.logits, tolerance)
    )


def nudged(logits: Logits, tolerance: float) -> Iterator[Logits]:
    """Logits that are off by the tolerance. Equal ones stay equal: a tie is no accident of
    rounding.
    """
    rng = np.random.default_rng(0)
    levels, place = np.unique(logits, return_inverse=True)
    for _ in range(NUDGES):
        nudge = rng.choice((-tolerance, tolerance), len(levels)).astype(np.float32)[place]
        yield logits + nudge
        yield logits - nudge
