"""Requests as JSON, and digests of plans."""

import json
from dataclasses import replace

import numpy as np
from hypothesis import given

from conformance.parity.harness.requests import RequestSpec, request_specs
from jax_backend.multihost.messages import plan_digest, request_from_json, request_to_json
from jax_backend.serving.scheduling.plan import (
    DecodeRow,
    Prefill,
    PrefillSegment,
    RequestState,
    Sequence,
    StepPlan,
)
from reference.grammar.response_format import compile_format
from reference.params import CompletionParams
from reference.request import Image, ImageSpan, Request
from tests.support.hypothesis_budget import example_budget


def round_trip(request: Request) -> Request:
    return request_from_json(json.loads(json.dumps(request_to_json(request))), compile_format)


@example_budget(40)
@given(request_specs(48))
def test_requests_survive(spec: RequestSpec) -> None:
    request = spec.request
    copy = round_trip(request)
    names = "prompt", "params", "seed", "principal", "images"
    assert [getattr(copy, name) for name in names] == [getattr(request, name) for name in names]
    assert (copy.language is None) == (request.language is None)


def test_images_survive() -> None:
    pixels = np.linspace(-1, 1, 3 * 4 * 4, dtype=np.float32).reshape(3, 4, 4)
    spans = (ImageSpan(Image.of(pixels), 1, 3), ImageSpan(Image.of(-pixels), 4, 6))
    request = Request.of([9, 7, 7, 9, 7, 7], CompletionParams(seed=1), images=spans)
    copy = round_trip(request)
    for span, original in zip(copy.images, spans, strict=True):
        assert (span.start, span.stop) == (original.start, original.stop)
        assert span.image.digest == original.image.digest
        assert np.array_equal(span.image.pixels, original.image.pixels)


def plan(pages: tuple[int, ...] = (4,), last: int = 3, position: int = 5) -> StepPlan:
    request = Request.of([1, 2, 3], CompletionParams(seed=0))
    state = RequestState(7, request, lambda event: None, 5, [])
    sequence = Sequence(state, 0, tokens=[last], slot=1)
    prefill = Prefill(state, [sequence])
    return StepPlan(
        segments=(PrefillSegment(prefill, 0, 0, 2, pages),),
        num_segments=4,
        completed=(prefill,),
        page_copies=((1, 2),),
        admitted=(sequence,),
        rows=(DecodeRow(sequence, 1, position, None, pages),),
    )


def test_digest_is_that_of_the_plan() -> None:
    assert plan_digest(plan()) == plan_digest(plan())
    others = [
        None,
        StepPlan(),
        plan(pages=(5,)),
        plan(pages=(4, 4)),
        plan(last=2),
        plan(position=6),
        replace(plan(), is_mixed=True),
        replace(plan(), num_segments=8),
        replace(plan(), page_copies=((2, 1),)),
        replace(plan(), admitted=()),
        replace(plan(), completed=()),
        replace(plan(), segments=()),
        replace(plan(), rows=()),
    ]
    digests = [plan_digest(plan()), *map(plan_digest, others)]
    assert len(set(digests)) == len(digests)
