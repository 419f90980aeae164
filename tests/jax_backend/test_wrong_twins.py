"""A backend that does something a little different is found out, by the property that says so; one
that only rounds otherwise is not.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

from conformance.parity import engine, output_text
from conformance.parity.harness import twins
from conformance.parity.harness.backends import Backend
from conformance.parity.harness.properties import OF_FUNCTIONS
from conformance.parity.harness.property import Property, Tally
from conformance.parity.harness.runner import Trial
from conformance.parity.harness.tolerance import LOGIT, ULPS
from conformance.parity.model import attention
from jax_backend import logits as l
from jax_backend import logprobs, sampler, threefry
from jax_backend.model import linear, llama
from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.request import Event, Request, TokenGenerated

BY_NAME = {one.name: one for one in OF_FUNCTIONS}
top_k, top_p, min_p, temperature = l.top_k, l.top_p, l.min_p, l.temperature
report, random_bits, noise = logprobs.token_logprobs, threefry.random_bits, sampler.noise
trace, rms_norm = sampler.trace, llama.rms_norm


def tried(one: Property, max_examples: int = 200) -> Tally:
    """The simplest failure is not looked for, any is enough."""
    search = settings(
        max_examples=max_examples,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    tally = Tally()
    search(Trial(one, tally, lambda: None).test)()
    return tally


def without_the_lowest(x: Any) -> Any:
    """The lowest level that is left goes, unless it is the only one."""
    lowest = jnp.where(jnp.isfinite(x), x, jnp.inf).min(axis=1, keepdims=True)
    return jnp.where((x > lowest) | (lowest == 0), x, l.NEG_INF)


def no_ties_at_the_kth(x: Any, k: Any) -> Any:
    kept = top_k(x, k)
    many = jnp.isfinite(kept).sum(axis=1, dtype=jnp.int32) > jnp.where(k > 0, k, x.shape[1])
    return jnp.where(many[:, None], without_the_lowest(kept), kept)


def last_of_the_likeliest(x: Any, value: Any) -> Any:
    return temperature(x[:, ::-1], value)[:, ::-1]


def seen_in_another_row(x: Any, seen: Any, penalty: Any) -> Any:
    return l.repetition_penalty(x, jnp.roll(seen, 1, axis=0), penalty)


def on_every_logit(x: Any, seen: Any, penalty: Any) -> Any:
    return jnp.where(seen, x / penalty[:, None], x)


def counted_once(x: Any, counts: Any, penalty: Any) -> Any:
    return x - penalty[:, None] * (counts > 0).astype(jnp.float32)


def counted_each_time(x: Any, counts: Any, penalty: Any) -> Any:
    return x - penalty[:, None] * counts.astype(jnp.float32)


def with_the_next_index(*arguments: Any) -> Any:
    return jnp.roll(random_bits(*arguments), -1, axis=1)


def that_is_infinite(bits: Any) -> Any:
    u = (bits.astype(jnp.float32) + 0.5) * jnp.float32(2**-32)
    return -jnp.log(-jnp.log1p(-u))


def ranked_from_the_end(x: Any, tokens: Any, top: int) -> Any:
    chosen, highest, ids = report(x[:, ::-1], x.shape[1] - 1 - tokens, top)
    return chosen, highest, x.shape[1] - 1 - ids


def neighbouring_pairs(x: Any, cos: Any, sin: Any) -> Any:
    a, b, cos, sin = x[..., ::2], x[..., 1::2], cos[:, :, None], sin[:, :, None]
    return jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(x.shape)


def first_choice_for_all(params: sampler.Params, positions: Any, vocab_size: int) -> Any:
    return noise(params._replace(choice=jnp.zeros_like(params.choice)), positions, vocab_size)


def rounded(x: Any, w: Any) -> Any:
    return (x.astype(jnp.bfloat16) @ w.T.astype(jnp.bfloat16)).astype(jnp.float32)


def temperature_too_early(
    x: Any, params: Any, history: Any, steps: Any = None, searches: bool | None = None
) -> Any:
    mask, repetition, frequency, presence, temperature, *rest = steps or sampler.STEPS
    wrong = [mask, repetition, frequency, temperature, presence, *rest]
    return trace(x, params, history, wrong, searches)


WRONG: list[tuple[str, ModuleType, str, Callable[..., Any]]] = [
    ("randomness/bits", threefry, "random_bits", with_the_next_index),
    ("randomness/bits", threefry, "seed_key", lambda s: np.array([0, s % 2**32], np.uint32)),
    ("randomness/noise", threefry, "gumbel", that_is_infinite),
    ("logits/mask", l, "mask", lambda x, allowed: jnp.where(allowed, x, -100)),
    ("logits/repetition_penalty", l, "repetition_penalty", on_every_logit),
    ("logits/repetition_penalty", l, "repetition_penalty", lambda x, seen, p: x / p[:, None]),
    ("logits/frequency_penalty", l, "frequency_penalty", counted_once),
    ("logits/presence_penalty", l, "presence_penalty", counted_each_time),
    ("logits/temperature", l, "temperature", last_of_the_likeliest),
    ("logits/temperature", l, "temperature", lambda x, value: temperature(x, value + 1e-4)),
    ("logits/min_p", l, "min_p", lambda x, f: jnp.where(jnp.exp(x) > f[:, None], x, l.NEG_INF)),
    ("logits/min_p", l, "min_p", lambda x, f: min_p(x, f * (1 + 2 * ULPS))),
    ("logits/top_k", l, "top_k", no_ties_at_the_kth),
    ("logits/top_k", l, "top_k", lambda x, k: top_k(x, k + 1)),
    ("logits/top_p", l, "top_p", lambda x, mass: without_the_lowest(top_p(x, mass))),
    ("logits/top_p", l, "top_p", lambda x, mass: top_p(x, mass + 2 * ULPS)),
    ("sampler/nucleus", sampler, "choose_in_nucleus", lambda x, n, mass: sampler.choose(x, n)),
    ("sampler/whole", sampler, "trace", temperature_too_early),
    ("sampler/whole", sampler, "noise", first_choice_for_all),
    ("logprobs/report", logprobs, "report", ranked_from_the_end),
    ("logprobs/report", logprobs, "report", lambda x, t, top: report(x / 1.001, t, top)),
    ("layer/rms_norm", llama, "rms_norm", lambda x, w, eps: rms_norm(x, w, eps * 1.01)),
    ("layer/rotate", llama, "rotate", neighbouring_pairs),
    ("layer/product", linear, "product", rounded),
]


@pytest.mark.parametrize(("name", "module", "attribute", "wrong"), WRONG)
def test_a_wrong_function_is_found_out(
    name: str,
    module: ModuleType,
    attribute: str,
    wrong: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, attribute, wrong)
    with pytest.raises(AssertionError):
        tried(BY_NAME[name])


@pytest.mark.parametrize(
    ("name", "module", "attribute", "rounding"),
    [
        ("logits/min_p", l, "min_p", lambda x, fraction: min_p(x, fraction * (1 - ULPS / 4))),
        (
            "logits/top_p",
            l,
            "top_p",
            lambda x, mass: top_p(x, jnp.where(mass < 1, mass - ULPS / 4, 1)),
        ),
    ],
)
def test_what_rounds_otherwise_is_counted(
    name: str,
    module: ModuleType,
    attribute: str,
    rounding: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, attribute, rounding)
    tally = tried(BY_NAME[name])
    assert 0 < tally.other <= tally.near


def test_a_window_that_is_too_wide_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def attend(*arguments: Any) -> Any:
        *rest, window = arguments
        return cpu.attend(*rest, None if window is None else window + 1)

    cpu = attention.CPU
    monkeypatch.setattr(attention, "CPU", replace(cpu, attend=attend))
    with pytest.raises(AssertionError):
        tried(BY_NAME["attention/cpu"])


@pytest.mark.parametrize("name", ["layer/whole", "model/window"])
def test_a_wrong_part_is_found_out_in_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "rms_norm", lambda x, w, eps: rms_norm(x, w, eps) * 1.001)
    monkeypatch.setattr(twins, "applied", twins.applied.__wrapped__)  # nothing compiled before
    with pytest.raises(AssertionError):
        tried(BY_NAME[name])


# An engine that does everything right, but for one thing.


def another_token(token: TokenGenerated) -> TokenGenerated:
    return replace(token, token=(token.token + 1) % 40)


def another_reason(token: TokenGenerated) -> TokenGenerated:
    return replace(token, finish_reason=token.finish_reason and "stop")


def another_number(token: TokenGenerated) -> TokenGenerated:
    found = token.logprobs
    return replace(token, logprobs=found and replace(found, logprob=found.logprob + 2 * LOGIT))


def another_order(token: TokenGenerated) -> TokenGenerated:
    found = token.logprobs
    return replace(token, logprobs=found and replace(found, top=found.top[::-1]))


CHANGES = [another_token, another_reason, another_number, another_order]


class Tampering:
    """An engine whose tokens are changed on their way out."""

    def __init__(
        self, inner: ReferenceEngine, change: Callable[[TokenGenerated], TokenGenerated]
    ) -> None:
        self.inner, self.change = inner, change

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        def tampered(event: Event) -> None:
            on_event(self.change(event) if isinstance(event, TokenGenerated) else event)

        return self.inner.submit(request, tampered)


@pytest.fixture
def right(spec: Bundle) -> Iterator[ReferenceEngine]:
    found = ReferenceEngine(spec)
    yield found
    found.close()


def backend_of(model: Bundle, roomy: Any, tight: Any) -> Backend:
    return Backend(model, roomy, tight, lambda: 0, lambda: None)


def test_the_reference_itself_has_the_properties_of_an_engine(
    spec: Bundle, right: ReferenceEngine
) -> None:
    for one in engine.PROPERTIES:
        assert tried(one.of(backend_of(spec, right, right)), 2).other == 0


@pytest.mark.parametrize("change", CHANGES)
def test_a_wrong_engine_is_found_out(
    change: Callable[[TokenGenerated], TokenGenerated], spec: Bundle, right: ReferenceEngine
) -> None:
    wrong = backend_of(spec, Tampering(right, change), right)
    for one in engine.PROPERTIES:
        with pytest.raises(AssertionError):
            tried(one.of(wrong), 50)


@pytest.mark.parametrize("one", output_text.PROPERTIES, ids=lambda one: one.name)
def test_a_wrong_text_is_found_out(one: Any, model: Bundle) -> None:
    right = ReferenceEngine(model)
    try:
        assert tried(one.of(backend_of(model, right, right)), 3).other == 0
        for change in another_token, another_reason, another_number:
            with pytest.raises(AssertionError):
                tried(one.of(backend_of(model, Tampering(right, change), right)), 50)
    finally:
        right.close()
