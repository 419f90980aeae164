"""Mutants of the JAX backend: each deviation from the reference fails the property that states it,
and a mere difference in rounding fails none.
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
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.tolerance import LOGIT_TOLERANCE, ULPS
from conformance.parity.model import attention
from conformance.parity.properties import FUNCTION_PROPERTIES
from conformance.parity.runner import Trial
from jax_backend import logits, logprobs, sampler, threefry
from jax_backend.model import llama, products, quantization
from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.request import Event, Request, TokenGenerated

pytestmark = pytest.mark.lane

BY_NAME = {p.name: p for p in FUNCTION_PROPERTIES}
top_k, top_p, min_p, temperature = logits.top_k, logits.top_p, logits.min_p, logits.temperature
repetition_penalty, token_logprobs = logits.repetition_penalty, logprobs.token_logprobs
random_bits = threefry.random_bits
noise, trace, rms_norm = sampler.noise, sampler.trace, llama.rms_norm
round_to, dynamic_scale = quantization.round_to, quantization.dynamic_scale
quantized_product = quantization.quantized_product


def search(tested: Property, max_examples: int = 200) -> Coverage:
    """Search for any failure; it need not be the simplest."""
    settings_ = settings(
        max_examples=max_examples,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    coverage = Coverage()
    settings_(Trial(tested, coverage, lambda: None).test)()
    return coverage


def without_the_lowest(x: Any) -> Any:
    """Drop the lowest level that is left, unless it is the only one."""
    lowest = jnp.where(jnp.isfinite(x), x, jnp.inf).min(axis=1, keepdims=True)
    return jnp.where((x > lowest) | (lowest == 0), x, logits.NEG_INF)


def without_ties_at_k(x: Any, k: Any) -> Any:
    kept = top_k(x, k)
    many = jnp.isfinite(kept).sum(axis=1, dtype=jnp.int32) > jnp.where(k > 0, k, x.shape[1])
    return jnp.where(many[:, None], without_the_lowest(kept), kept)


def argmax_with_highest_id(x: Any, value: Any) -> Any:
    return temperature(x[:, ::-1], value)[:, ::-1]


def penalize_every_token_by_division(x: Any, present: Any, penalty: Any) -> Any:
    return jnp.where(present, x / penalty[:, None], x)


def present_in_another_row(x: Any, present: Any, penalty: Any) -> Any:
    return repetition_penalty(x, jnp.roll(present, 1, axis=0), penalty)


def counted_once(x: Any, counts: Any, penalty: Any) -> Any:
    return x - penalty[:, None] * (counts > 0).astype(jnp.float32)


def counted_each_time(x: Any, counts: Any, penalty: Any) -> Any:
    return x - penalty[:, None] * counts.astype(jnp.float32)


def with_the_next_index(*arguments: Any) -> Any:
    return jnp.roll(random_bits(*arguments), -1, axis=1)


def infinite_gumbel(bits: Any) -> Any:
    u = (bits.astype(jnp.float32) + 0.5) * jnp.float32(2**-32)
    return -jnp.log(-jnp.log1p(-u))


def ranked_by_highest_id(x: Any, tokens: Any, top: int) -> Any:
    logprob, highest, ids = token_logprobs(x[:, ::-1], x.shape[1] - 1 - tokens, top)
    return logprob, highest, x.shape[1] - 1 - ids


def rotate_neighboring_pairs(x: Any, cos: Any, sin: Any) -> Any:
    a, b, cos, sin = x[..., ::2], x[..., 1::2], cos[:, :, None], sin[:, :, None]
    return jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(x.shape)


def first_choice_for_all(params: sampler.Params, positions: Any, vocab_size: int) -> Any:
    return noise(params._replace(choice=jnp.zeros_like(params.choice)), positions, vocab_size)


def bfloat16_product(x: Any, w: Any, column_block: int) -> Any:
    return (x.astype(jnp.bfloat16) @ w.T.astype(jnp.bfloat16)).astype(jnp.float32)


def round_half_up(x: Any, number: str) -> Any:
    if number == "int8":
        return jnp.clip(jnp.floor(x + 0.5), -128, 127).astype(jnp.int8)
    return round_to(x, number)


def without_saturation(x: Any, number: str) -> Any:
    return round_to(x, number) if number == "int8" else x.astype(jnp.float8_e4m3fn)


def float32_sums(x: Any, q: Any, column_block: int) -> Any:
    floats = x.astype(jnp.float32), q.astype(jnp.float32)
    return products.product(*floats, column_block).astype(jnp.int32)


def scales_of_the_next_row(x: Any, q: Any, scales: Any, *rest: Any) -> Any:
    return quantized_product(x, q, jnp.roll(scales, 1, axis=0), *rest)


def temperature_too_early(
    x: Any, params: Any, history: Any, steps: Any = None, threshold_search: bool | None = None
) -> Any:
    mask, repetition, frequency, presence, temperature, *rest = steps or sampler.STEPS
    wrong = [mask, repetition, frequency, temperature, presence, *rest]
    return trace(x, params, history, wrong, threshold_search)


MUTANTS: list[tuple[str, ModuleType, str, Callable[..., Any]]] = [
    ("threefry/random_bits", threefry, "random_bits", with_the_next_index),
    ("threefry/random_bits", threefry, "seed_key", lambda s: np.array([0, s % 2**32], np.uint32)),
    ("threefry/gumbel", threefry, "gumbel", infinite_gumbel),
    ("logits/mask", logits, "mask", lambda x, allowed: jnp.where(allowed, x, -100)),
    (
        "logits/repetition_penalty",
        logits,
        "repetition_penalty",
        penalize_every_token_by_division,
    ),
    (
        "logits/repetition_penalty",
        logits,
        "repetition_penalty",
        lambda x, present, p: x / p[:, None],
    ),
    ("logits/repetition_penalty", logits, "repetition_penalty", present_in_another_row),
    ("logits/frequency_penalty", logits, "frequency_penalty", counted_once),
    ("logits/presence_penalty", logits, "presence_penalty", counted_each_time),
    ("logits/temperature", logits, "temperature", argmax_with_highest_id),
    ("logits/temperature", logits, "temperature", lambda x, value: temperature(x, value + 1e-4)),
    (
        "logits/min_p",
        logits,
        "min_p",
        lambda x, f: jnp.where(jnp.exp(x) > f[:, None], x, logits.NEG_INF),
    ),
    ("logits/min_p", logits, "min_p", lambda x, f: min_p(x, f * (1 + 2 * ULPS))),
    ("logits/top_k", logits, "top_k", without_ties_at_k),
    ("logits/top_k", logits, "top_k", lambda x, k: top_k(x, k + 1)),
    ("logits/top_p", logits, "top_p", lambda x, mass: without_the_lowest(top_p(x, mass))),
    ("logits/top_p", logits, "top_p", lambda x, mass: top_p(x, mass + 2 * ULPS)),
    (
        "sampler/nucleus",
        sampler,
        "gumbel_argmax_in_nucleus",
        lambda x, n, mass: sampler.gumbel_argmax(x, n),
    ),
    ("sampler/sample", sampler, "trace", temperature_too_early),
    ("sampler/sample", sampler, "noise", first_choice_for_all),
    ("logprobs/token_logprobs", logprobs, "token_logprobs", ranked_by_highest_id),
    (
        "logprobs/token_logprobs",
        logprobs,
        "token_logprobs",
        lambda x, t, top: token_logprobs(x / 1.001, t, top),
    ),
    ("quantization/rounding", quantization, "round_to", round_half_up),
    ("quantization/rounding", quantization, "round_to", without_saturation),
    (
        "quantization/dynamic_scale",
        quantization,
        "dynamic_scale",
        lambda x, number: dynamic_scale(x, number) * 1.004,
    ),
    ("quantization/int8_product", quantization, "int8_product", float32_sums),
    ("quantization/linear", quantization, "quantized_product", scales_of_the_next_row),
    ("layer/rms_norm", llama, "rms_norm", lambda x, w, eps: rms_norm(x, w, eps * 1.01)),
    ("layer/rotate", llama, "rotate", rotate_neighboring_pairs),
    ("layer/product", products, "product", bfloat16_product),
]


@pytest.mark.parametrize(("name", "module", "attribute", "mutant"), MUTANTS)
def test_mutant_of_a_function_is_killed(
    name: str,
    module: ModuleType,
    attribute: str,
    mutant: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, attribute, mutant)
    with pytest.raises(AssertionError):
        search(BY_NAME[name])


@pytest.mark.parametrize(
    ("name", "attribute", "rounded"),
    [
        ("logits/min_p", "min_p", lambda x, fraction: min_p(x, fraction * (1 - ULPS / 4))),
        (
            "logits/top_p",
            "top_p",
            lambda x, mass: top_p(x, jnp.where(mass < 1, mass - ULPS / 4, 1)),
        ),
    ],
)
def test_different_rounding_is_counted_as_flipped(
    name: str,
    attribute: str,
    rounded: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logits, attribute, rounded)
    coverage = search(BY_NAME[name])
    assert 0 < coverage.flipped <= coverage.borderline


def test_too_wide_window_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def attend(*arguments: Any) -> Any:
        *rest, window = arguments
        return cpu.attend(*rest, None if window is None else window + 1)

    cpu = attention.CPU
    monkeypatch.setattr(attention, "CPU", replace(cpu, attend=attend))
    with pytest.raises(AssertionError):
        search(BY_NAME["attention/cpu"])


@pytest.mark.parametrize("name", ["layer/whole", "llama/window"])
def test_mutant_of_a_part_fails_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "rms_norm", lambda x, w, eps: rms_norm(x, w, eps) * 1.001)
    monkeypatch.setattr(twins, "compiled_apply", twins.compiled_apply.__wrapped__)  # no cache
    with pytest.raises(AssertionError):
        search(BY_NAME[name])


# Engines that do everything right except for one thing.


def change_token(event: TokenGenerated) -> TokenGenerated:
    return replace(event, token=(event.token + 1) % 40)


def change_finish_reason(event: TokenGenerated) -> TokenGenerated:
    return replace(event, finish_reason=event.finish_reason and "stop")


def change_logprob(event: TokenGenerated) -> TokenGenerated:
    entry = event.logprobs
    wrong = entry and replace(entry, logprob=entry.logprob + 2 * LOGIT_TOLERANCE)
    return replace(event, logprobs=wrong)


def change_ranking(event: TokenGenerated) -> TokenGenerated:
    entry = event.logprobs
    return replace(event, logprobs=entry and replace(entry, top=entry.top[::-1]))


CHANGES = [change_token, change_finish_reason, change_logprob, change_ranking]


class MutantEngine:
    """An engine that changes the events of another one."""

    def __init__(
        self, inner: ReferenceEngine, change: Callable[[TokenGenerated], TokenGenerated]
    ) -> None:
        self.inner, self.change = inner, change

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        def changed(event: Event) -> None:
            on_event(self.change(event) if isinstance(event, TokenGenerated) else event)

        return self.inner.submit(request, changed)


@pytest.fixture
def reference_engine(spec: Bundle) -> Iterator[ReferenceEngine]:
    engine = ReferenceEngine(spec)
    yield engine
    engine.close()


def backend_of(bundle: Bundle, large_cache: Any, small_cache: Any) -> Backend:
    return Backend(bundle, large_cache, small_cache, lambda: 0, lambda: None)


def test_reference_has_the_engine_properties(
    spec: Bundle, reference_engine: ReferenceEngine
) -> None:
    for tested in engine.PROPERTIES:
        backend = backend_of(spec, reference_engine, reference_engine)
        assert search(tested.bind(backend), 2).flipped == 0


@pytest.mark.parametrize("change", CHANGES)
def test_mutant_engine_is_killed(
    change: Callable[[TokenGenerated], TokenGenerated],
    spec: Bundle,
    reference_engine: ReferenceEngine,
) -> None:
    mutant = backend_of(spec, MutantEngine(reference_engine, change), reference_engine)
    for tested in engine.PROPERTIES:
        with pytest.raises(AssertionError):
            search(tested.bind(mutant), 50)


@pytest.mark.parametrize("tested", output_text.PROPERTIES, ids=lambda p: p.name)
def test_mutant_of_output_text_is_killed(tested: Any, model: Bundle) -> None:
    right = ReferenceEngine(model)
    try:
        assert search(tested.bind(backend_of(model, right, right)), 3).flipped == 0
        for change in change_token, change_finish_reason, change_logprob:
            with pytest.raises(AssertionError):
                search(tested.bind(backend_of(model, MutantEngine(right, change), right)), 50)
    finally:
        right.close()
