"""No draft changes an output: not its tokens, log-probabilities or reasons, bit for bit."""

import queue
import random
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.parity.harness.backends import IdsOnlyTokenizer
from conformance.parity.harness.requests import (
    RequestOutput,
    RequestSpec,
    collect,
    request_specs,
)
from jax_backend.serving.drafting.drafter import LookupDrafter
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.executor import InFlightStep
from jax_backend.serving.scheduling.plan import Sequence, StepPlan
from jax_backend.serving.scheduling.rows import Drafter
from jax_backend.serving.settings import Settings
from reference.bundle import Bundle
from reference.model import checkpoint
from reference.request import Event, Request, RequestFinished, TokenGenerated
from tests.api.conftest import wait_until
from tests.goldens import GOLDENS
from tests.jax_backend.conftest import TIGHT, TIGHT_CONTEXT, engine_of
from tests.jax_backend.serving.drafts import RandomDrafter

V = 48


def outputs(
    engine: JaxEngine, requests: list[Request], drafter: Drafter | None
) -> list[RequestOutput]:
    """Run requests on an idle engine, with drafts from `drafter`."""
    planner = engine.scheduler.row_planner
    before, planner.drafter = planner.drafter, drafter
    try:
        return collect(engine, requests)
    finally:
        # The thread runs another step. Its type checks use `random`, which hypothesis notices.
        wait_until(lambda: engine.stats().stalled_seconds == 0)
        planner.drafter = before


def check_identical(engine: JaxEngine, requests: list[Request], seed: int) -> RandomDrafter:
    expected = outputs(engine, requests, None)
    drafter = RandomDrafter(requests, expected, engine.executor.vocab_size, seed)
    actual = outputs(engine, requests, drafter)
    for request, without, output in zip(requests, expected, actual, strict=True):
        # not ==: of two errors, type and message are equal
        assert repr(output.content) == repr(without.content), request
    lookup = engine.scheduler.row_planner.drafter
    assert repr([o.content for o in outputs(engine, requests, lookup)]) == repr(
        [o.content for o in expected]
    )
    pool = engine.scheduler.pool
    assert pool.num_available == pool.num_pages
    return drafter


def search(
    engine: JaxEngine, specs: st.SearchStrategy[RequestSpec], max_examples: int, most: int
) -> int:
    """Search for requests and drafts that change an output. most: requests at a time. Return the
    number of requests.
    """
    count = 0

    @settings(max_examples=max_examples, database=None, suppress_health_check=list(HealthCheck))
    @given(specs=st.lists(specs, min_size=1, max_size=most), seed=st.integers(0, 2**32))
    def check(specs: list[RequestSpec], seed: int) -> None:
        nonlocal count
        count += len(specs)
        check_identical(engine, [spec.request for spec in specs], seed)

    before = engine.stats()
    check()
    after = engine.stats()
    accepted = after.accepted_draft_tokens - before.accepted_draft_tokens
    assert accepted > 2 * max_examples, "the drafts were too bad to test anything"
    assert after.draft_tokens - before.draft_tokens > accepted
    return count


def test_drafts_change_no_output(engine: JaxEngine) -> None:
    search(engine, request_specs(V, 100, 70), max_examples=40, most=6)


def test_drafts_change_no_output_after_preemption(tight_engine: JaxEngine) -> None:
    before = tight_engine.stats().preemptions
    search(tight_engine, request_specs(V, 100, 90), max_examples=20, most=6)
    assert tight_engine.stats().preemptions - before > 20


def test_drafts_change_no_output_of_a_vlm(vlm: Bundle, vlm_engine: JaxEngine) -> None:
    config = vlm.checkpoint.config
    specs = request_specs(config.vocab_size, 60, 40, config.vision)
    search(vlm_engine, specs, max_examples=20, most=3)


def test_drafts_change_no_output_within_a_sliding_window() -> None:
    window = Bundle.from_parts(checkpoint.load(GOLDENS / "window"), IdsOnlyTokenizer(V))
    shapes = Settings(batch_sizes=(8,), page_size=32, prefill_sizes=(64,), segment_size=16)
    engine = engine_of(window, shapes, without_eos=True)
    params = {"max_tokens": 90, "logprobs": 2, "seed": 3, "frequency_penalty": 0.5}
    requests = [
        RequestSpec(list(range(3, size)), params | {"temperature": size % 2}).request
        for size in (5, 40, 47)
    ]
    try:
        check_identical(engine, requests, seed=1)
        assert engine.stats().accepted_draft_tokens > 20
    finally:
        engine.close()


TEXTS = (
    "Once upon a time",
    "List three toys.\n1. drum\n2. ball\n3. kite\nList three toys.\n1. drum\n",
    "Q: What sound does a dog make?\nA: A dog says woof.\nQ: What sound does a dog make?\n",
    'Write a JSON record of a person.\n{"name": "Ivy", "age": 78, "job": "sailor"}\n',
)


@pytest.mark.lane
def test_drafts_change_no_output_of_two_thousand_requests(model: Bundle) -> None:
    """On the embedded model, one to nine requests at a time in batches of up to eight rows."""
    texts = st.sampled_from([model.tokenizer.encode(text) for text in TEXTS])

    def with_text(spec: RequestSpec, text: list[int], is_text: bool) -> RequestSpec:
        return replace(spec, prompt=text) if is_text else spec

    any_spec = request_specs(model.vocab_size, max_prompt=120, max_output=120)
    specs = st.builds(with_text, any_spec, texts, st.booleans())
    engine = engine_of(
        model,
        Settings(
            batch_sizes=(2, 4, 8),
            num_pages=96,
            page_size=32,
            prefill_sizes=(16, 64),
            segment_size=16,
        ),
    )
    try:
        assert search(engine, specs, max_examples=500, most=9) >= 2000
    finally:
        engine.close()


def long_requests(count: int, **params: object) -> list[Request]:
    fields = {"max_tokens": 60, "logprobs": 1, "temperature": 1.2, "repetition_penalty": 1.1}
    return [RequestSpec([5, i], {**fields, "seed": i, **params}).request for i in range(count)]


class FixedDrafter(RandomDrafter):
    """Always proposes eight tokens: the true output, or tokens that are all wrong."""

    is_right = True

    def should_wait(self, sequences: list[Sequence]) -> bool:
        return True

    def drafts(self, sequences: list[Sequence]) -> dict[Sequence, list[int]]:
        drafts = {sequence: self.true_output(sequence)[:8] for sequence in sequences}
        if self.is_right:
            return drafts
        return {s: [(t + 1) % self.vocab_size for t in draft] for s, draft in drafts.items()}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_right_drafts_save_steps_and_wrong_ones_cost_none(
    engine: JaxEngine, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both sides of every batch size: of 2 and 4 rows, and four slots."""
    requests, steps = long_requests(count), [0]
    start = engine.executor.start

    def counted(plan: StepPlan) -> InFlightStep:
        steps[0] += bool(plan.rows)
        assert len(plan.rows) <= 4
        return start(plan)

    monkeypatch.setattr(engine.executor, "start", counted)
    expected = outputs(engine, requests, None)
    drafter = FixedDrafter(requests, expected, V, seed=0)
    num_steps = []
    for is_right in (False, True):
        steps[0], drafter.is_right, before = 0, is_right, engine.stats()
        assert outputs(engine, requests, drafter) == expected
        num_steps.append(steps[0])
        accepted = engine.stats().accepted_draft_tokens - before.accepted_draft_tokens
        assert (accepted > 0) == is_right
    longest = max(len(tokens) for output in expected for tokens in output.tokens)
    assert num_steps[0] >= longest
    if count == 1:
        assert num_steps[1] == -(-longest // 4)
    assert num_steps[1] < num_steps[0]


def test_abort_between_steps_with_drafts(engine: JaxEngine) -> None:
    """The remaining requests are as without; the aborted ones end early, with a prefix."""
    requests = long_requests(3, n=2, max_tokens=70)
    expected = outputs(engine, requests, None)
    for seed in range(10):
        rng = random.Random(seed)
        events: list[queue.SimpleQueue[Event]] = [queue.SimpleQueue() for _ in requests]
        planner = engine.scheduler.row_planner
        before, planner.drafter = planner.drafter, RandomDrafter(requests, expected, V, seed)
        after = rng.randrange(0, 80)
        count, ids = [0], []

        def on_event(to: queue.SimpleQueue[Event], event: Event) -> None:
            to.put(event)
            count[0] += 1  # noqa: B023
            if count[0] == after:  # noqa: B023
                engine.abort(ids[0])  # noqa: B023
                engine.abort(ids[1], 1)  # noqa: B023

        ids += [
            engine.submit(r, partial(on_event, to)) for r, to in zip(requests, events, strict=True)
        ]
        received = [until_finished(e) for e in events]
        planner.drafter = before
        for i, choices in enumerate(received):
            for c, tokens in enumerate(choices):
                full = list(expected[i].choices[c])
                is_aborted = i == 0 or (i, c) == (1, 1)
                assert tokens == (full[: len(tokens)] if is_aborted else full)
        assert engine.scheduler.pool.num_available == engine.scheduler.pool.num_pages


def until_finished(events: "queue.SimpleQueue[Event]") -> list[list[TokenGenerated]]:
    choices: list[list[TokenGenerated]] = [[], []]
    while not isinstance(event := events.get(timeout=60), RequestFinished):
        if isinstance(event, TokenGenerated):
            choices[event.choice].append(event)
    assert event.error is None
    return choices


@pytest.mark.parametrize("speculate", ["off", "lookup"])
def test_setting_decides_about_drafts(
    spec: Bundle, speculate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jax_backend.serving.engine.warm_up", lambda *_: None)
    engine = engine_of(spec, replace(TIGHT, speculate=speculate), TIGHT_CONTEXT)
    drafter = engine.scheduler.row_planner.drafter
    assert isinstance(drafter, LookupDrafter) if speculate == "lookup" else drafter is None
    engine.close()


def test_unknown_speculation_is_refused() -> None:
    with pytest.raises(ValueError, match="speculate"):
        Settings(speculate="always")
