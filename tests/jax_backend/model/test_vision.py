"""Image inputs of the JAX backend: against transformers' Llava, and in an engine."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from conformance.parity.harness import agreement
from conformance.parity.harness.backends import IdsOnlyTokenizer
from conformance.parity.harness.property import Coverage
from conformance.parity.harness.requests import RequestSpec, collect, noise_image
from conformance.parity.harness.twins import SMALL, VISION, apply, saved_checkpoint
from conformance.parity.model.vision import TOWER, features
from jax_backend.model.checkpoint import load
from jax_backend.serving import decode, prefill
from jax_backend.serving.batch_invariance import select_image_batch_sizes
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.images import ImageEmbedder
from jax_backend.serving.scheduling.plan import Prefill, PrefillSegment, RequestState
from jax_backend.serving.settings import Settings
from reference.bundle import Bundle
from reference.model import checkpoint
from reference.request import Request
from tests.goldens import GOLDENS, VISION_MODELS

TOLERANCE = 1e-5  # of the largest value


@pytest.mark.parametrize("directory", VISION_MODELS, ids=lambda path: path.name)
def test_features_match_transformers(directory: Path) -> None:
    golden, vision = np.load(directory / "golden.npz"), load(directory).vision
    assert vision is not None
    actual = np.asarray(apply(features, vision, golden["pixels"]))
    assert actual.shape == golden["features"].shape
    assert np.abs(actual - golden["features"]).max() <= TOLERANCE * np.abs(golden["features"]).max()


def request_with(
    vlm: Bundle, prompt: list[int], images: list[tuple[int, int]], **params: Any
) -> Request:
    """Return a request. images: see `RequestSpec`."""
    fields = {"seed": 7, "max_tokens": 6, "logprobs": 2, **params}
    return RequestSpec(prompt, fields, "me", vlm.checkpoint.config.vision, images).request


def test_prompt_of_a_single_image(vlm: Bundle, vlm_engine: JaxEngine) -> None:
    """The last image token is then the input of the first decode step."""
    a, b = (request_with(vlm, [], [(0, number)], n=2) for number in (1, 2))
    first, second = collect(vlm_engine, [a, b])
    assert first.error is None and first.content != second.content
    assert collect(vlm_engine, [a])[0].content == first.content


def test_cache_hit_requires_the_same_images(vlm: Bundle, vlm_engine: JaxEngine) -> None:
    """Pages are shared up to the first image that differs."""
    prompt = list(range(40, 0, -1))
    same = request_with(vlm, prompt, [(10, 1), (12, 2), (40, 3)], prompt_cache_key="hits")
    different_end = request_with(vlm, prompt, [(10, 1), (12, 2), (40, 4)], prompt_cache_key="hits")
    different_start = request_with(
        vlm, prompt, [(10, 4), (12, 2), (40, 3)], prompt_cache_key="hits"
    )
    requests = same, same, different_end, different_start
    outputs = [collect(vlm_engine, [request])[0] for request in requests]
    cached = [output.prompt.cached_tokens for output in outputs if output.prompt]
    assert cached == [0, 64, 32, 0]
    assert outputs[0].content == outputs[1].content


def test_image_tokens_have_no_logprobs(vlm: Bundle, vlm_engine: JaxEngine) -> None:
    request = request_with(vlm, [5, 6, 7, 8], [(2, 1)], echo=True)
    (output,) = collect(vlm_engine, [request])
    assert output.prompt is not None and output.prompt.prompt_logprobs is not None
    missing = [i for i, entry in enumerate(output.prompt.prompt_logprobs) if entry is None]
    [span] = request.images
    assert missing == [0, *range(span.start, span.stop)]


def test_image_for_a_text_model_is_an_error(engine: JaxEngine, vlm: Bundle) -> None:
    (output,) = collect(engine, [request_with(vlm, [5], [(0, 1)])])
    assert isinstance(output.error, ValueError) and "text only" in str(output.error)


def test_image_batch_sizes_that_differ_are_dropped(
    vlm_engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = vlm_engine.executor
    encode = executor.program.encode_images

    def uneven(weights: Any, pixels: np.ndarray) -> Any:
        rows = [encode(weights, image[None])[0] for image in pixels]
        return [r + np.float32(1e-6) for r in rows] if len(pixels) == 2 else rows

    monkeypatch.setattr(executor, "program", executor.program._replace(encode_images=uneven))
    monkeypatch.setattr(executor.images, "batch_sizes", executor.settings.image_batch_sizes)
    assert executor.vision is not None
    select_image_batch_sizes(executor)
    assert executor.images.batch_sizes == (1, 4)


def test_images_cause_no_compilation_after_startup(vlm: Bundle, vlm_engine: JaxEngine) -> None:
    program = vlm_engine.executor.program
    functions = (
        program.encode_images,
        program.forward,
        program.prompt_logprobs,
        decode.sample_step,
        prefill.merge_embeddings,
    )
    before = [f._cache_size() for f in functions]
    rng = np.random.default_rng(5)
    for count in range(12):
        images = [(int(rng.integers(0, 30)), int(rng.integers(0, 9))) for _ in range(count % 7)]
        prompt = rng.integers(3, 40, int(rng.integers(1, 30))).tolist()
        requests = [
            request_with(vlm, prompt, images, echo=bool(count % 2), seed=i) for i in range(3)
        ]
        requests += [request_with(vlm, prompt, []), request_with(vlm, [], images or [(0, 1)])]
        assert all(output.error is None for output in collect(vlm_engine, requests))
    assert [f._cache_size() for f in functions] == before


@pytest.mark.lane
def test_batched_images_longer_than_a_launch(tmp_path: Path) -> None:
    """Images of 196 tokens, up to four encoded in a batch, agree with the reference. Batches are
    used here although their bits depend on the batch size.
    """
    tower = TOWER | {"image_size": 56}
    text = SMALL | {"max_position_embeddings": 1024}
    with saved_checkpoint(3, VISION | {"text_config": text, "vision_config": tower}) as directory:
        spec = Bundle.from_parts(checkpoint.load(directory), IdsOnlyTokenizer(37))
        settings = Settings(
            batch_sizes=(2,),
            num_pages=40,
            page_size=64,
            prefill_sizes=(32, 128),
            image_batch_sizes=(1, 2, 4),
            batch_invariant=False,
        )
        eos = spec.checkpoint.eos_token_ids
        engine = JaxEngine(load(directory), eos, spec.vocabulary, settings)
    try:
        requests = [
            request_with(spec, [5, 6, 7], [(0, 1), (1, 2), (2, 3), (2, 1), (-1, 4)], echo=True),
            request_with(spec, [], [(0, 2), (0, 2), (0, 3)], n=2),
            request_with(spec, [9] * 130, [(70, 5), (131, 6)], echo=True),
        ]
        coverage = Coverage()
        for request, output in zip(requests, collect(engine, requests), strict=True):
            agreement.check_output(spec, request, output, coverage)
        assert engine.executor.images.batch_sizes == (1, 2, 4) and coverage.counts["tokens"] > 4
    finally:
        engine.close()


def test_final_image_is_encoded_once_for_all_choices(
    vlm: Bundle, vlm_engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = vlm_engine.executor
    encode, batches = executor.program.encode_images, []

    def counted(weights: Any, pixels: np.ndarray) -> Any:
        batches.append(len(pixels))
        return encode(weights, pixels)

    monkeypatch.setattr(executor, "program", executor.program._replace(encode_images=counted))
    (output,) = collect(vlm_engine, [request_with(vlm, [5, 6], [(2, 8)], n=4, seed=99)])
    assert output.error is None and batches == [1]


def test_image_embeddings_and_grammar_states_are_released(
    vlm: Bundle, vlm_engine: JaxEngine
) -> None:
    images, format = [(2, 8), (40, 3), (41, 5)], {"type": "json_object"}
    requests = [
        request_with(vlm, list(range(3, 43)), images, n=2, seed=i, response_format=format)
        for i in range(4)
    ]
    for request in requests:
        vlm_engine.abort(vlm_engine.submit(request, lambda event: None))
    assert all(output.error is None for output in collect(vlm_engine, requests))
    executor = vlm_engine.executor
    assert executor.images._cache == {} and executor.grammar_states.by_request == {}


def test_request_released_during_prefill_does_not_fail(vlm: Bundle, vlm_engine: JaxEngine) -> None:
    """While the engine closes, `submit` ends its request on another thread."""
    executor = vlm_engine.executor
    state = RequestState(0, request_with(vlm, [5], [(0, 1)]), lambda event: None, 1, [])

    def encode(pixels: np.ndarray) -> Any:
        embedder.release(0)
        return executor.encode_images(pixels)

    embedder = ImageEmbedder(encode, (1,), executor.images.no_images)
    layout = executor.layout
    segment = PrefillSegment(Prefill(state, []), 0, 0, 10, ())
    images = embedder.of_segments([segment], layout.segment_size, layout.sizes[-1])
    assert images is not None and images.mask.sum() == 10


def test_image_digest_depends_on_pixels() -> None:
    image, different = noise_image(1, 12), noise_image(2, 12)
    copy = type(image).of(image.pixels.copy())
    assert image.digest == copy.digest != different.digest


def test_bfloat16_is_close_to_float32() -> None:
    """Eight bits of precision, through a few layers: a few percent of the range."""
    directory = GOLDENS / "llava_plain"
    golden, vision = np.load(directory / "golden.npz"), load(directory, jnp.bfloat16).vision
    assert vision is not None
    rows = apply(features, vision, golden["pixels"])
    assert rows.dtype == jnp.bfloat16
    error = np.abs(np.asarray(rows, np.float32) - golden["features"])
    assert error.max() < 0.05 * np.ptp(golden["features"])
