"""What a model sees, on the device: against transformers' Llava, and in an engine."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from conformance.parity.harness import agreement
from conformance.parity.harness.backends import NoText
from conformance.parity.harness.property import Tally
from conformance.parity.harness.requests import Asked, collect, image
from conformance.parity.harness.twins import SEEING, SMALL, apply, saved
from conformance.parity.model.vision import TOWER, features
from jax_backend.model.checkpoint import load
from jax_backend.serving import step
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.executor import Settings
from reference.bundle import Bundle
from reference.model import checkpoint
from reference.request import Request
from tests.goldens import GOLDENS, THAT_SEE

NEAR = 1e-5  # of the largest value


@pytest.mark.parametrize("directory", THAT_SEE, ids=lambda path: path.name)
def test_features_are_those_of_transformers(directory: Path) -> None:
    golden, vision = np.load(directory / "golden.npz"), load(directory).vision
    assert vision is not None
    found = np.asarray(apply(features, vision, golden["pixels"]))
    assert found.shape == golden["features"].shape
    assert np.abs(found - golden["features"]).max() <= NEAR * np.abs(golden["features"]).max()


def asked(
    seeing: Bundle, prompt: list[int], shown: list[tuple[int, int]], **params: Any
) -> Request:
    """shown: (before which token, a number) of each image."""
    fields = {"seed": 7, "max_tokens": 6, "logprobs": 2, **params}
    return Asked(prompt, fields, "me", seeing.checkpoint.config.vision, shown).request


def test_a_prompt_may_be_an_image_alone(seeing: Bundle, seeing_engine: JaxEngine) -> None:
    """Its last row is then fed as the prompt's last token is."""
    one, other = (asked(seeing, [], [(0, number)], n=2) for number in (1, 2))
    first, second = collect(seeing_engine, [one, other])
    assert first.error is None and first.content != second.content
    assert collect(seeing_engine, [one])[0].content == first.content


def test_a_cache_hit_takes_the_same_images(seeing: Bundle, seeing_engine: JaxEngine) -> None:
    """Only as far as they are the same: the pages of another image are others."""
    prompt = list(range(40, 0, -1))
    same = asked(seeing, prompt, [(10, 1), (12, 2), (40, 3)], prompt_cache_key="hits")
    other = asked(seeing, prompt, [(10, 1), (12, 2), (40, 4)], prompt_cache_key="hits")
    early = asked(seeing, prompt, [(10, 4), (12, 2), (40, 3)], prompt_cache_key="hits")
    answers = [collect(seeing_engine, [request])[0] for request in (same, same, other, early)]
    cached = [answer.prompt.cached_tokens for answer in answers if answer.prompt]
    assert cached == [0, 64, 32, 0]
    assert answers[0].content == answers[1].content


def test_nothing_of_an_image_is_a_number_in_a_report(
    seeing: Bundle, seeing_engine: JaxEngine
) -> None:
    request = asked(seeing, [5, 6, 7, 8], [(2, 1)], echo=True)
    (answer,) = collect(seeing_engine, [request])
    assert answer.prompt is not None and answer.prompt.prompt_logprobs is not None
    nothing = [i for i, report in enumerate(answer.prompt.prompt_logprobs) if report is None]
    [placed] = request.images
    assert nothing == [0, *range(placed.start, placed.stop)]


def test_an_image_for_a_model_without_eyes_is_an_error(engine: JaxEngine, seeing: Bundle) -> None:
    (answer,) = collect(engine, [asked(seeing, [5], [(0, 1)])])
    assert isinstance(answer.error, ValueError) and "text only" in str(answer.error)


def test_batches_of_images_that_round_differently_are_dropped(
    seeing_engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = seeing_engine.device
    look = device.program.look

    def uneven(weights: Any, pixels: np.ndarray) -> Any:
        rows = [look(weights, one[None])[0] for one in pixels]
        return [r + np.float32(1e-6) for r in rows] if len(pixels) == 2 else rows

    monkeypatch.setattr(device, "program", device.program._replace(look=uneven))
    monkeypatch.setattr(device, "image_batches", device.settings.images)
    assert device.vision is not None
    device._drop_image_batches_that_round_differently(device.vision)
    assert device.image_batches == (1, 4)


def test_nothing_is_compiled_for_an_image_after_the_start(
    seeing: Bundle, seeing_engine: JaxEngine
) -> None:
    program = seeing_engine.device.program
    functions = program.look, program.read, program.feed, step.draw, step.give
    before = [f._cache_size() for f in functions]
    rng = np.random.default_rng(5)
    for count in range(12):
        shown = [(int(rng.integers(0, 30)), int(rng.integers(0, 9))) for _ in range(count % 7)]
        prompt = rng.integers(3, 40, int(rng.integers(1, 30))).tolist()
        requests = [asked(seeing, prompt, shown, echo=bool(count % 2), seed=i) for i in range(3)]
        requests += [asked(seeing, prompt, []), asked(seeing, [], shown or [(0, 1)])]
        assert all(answer.error is None for answer in collect(seeing_engine, requests))
    assert [f._cache_size() for f in functions] == before


def test_images_longer_than_a_chunk_in_batches(tmp_path: Path) -> None:
    """Of 196 places each, up to four looked at together: for every place the reference's row. Here
    batches are used although they round differently.
    """
    tower = TOWER | {"image_size": 56}
    text = SMALL | {"max_position_embeddings": 1024}
    with saved(3, SEEING | {"text_config": text, "vision_config": tower}) as directory:
        spec = Bundle(checkpoint.load(directory), NoText(37))
        settings = Settings(
            widths=(2,), pages=40, page_size=64, chunks=(32, 128), images=(1, 2, 4), invariant=False
        )
        eos = spec.checkpoint.eos_token_ids
        engine = JaxEngine(load(directory), eos, spec.vocabulary, settings)
    try:
        requests = [
            asked(spec, [5, 6, 7], [(0, 1), (1, 2), (2, 3), (2, 1), (-1, 4)], echo=True),
            asked(spec, [], [(0, 2), (0, 2), (0, 3)], n=2),
            asked(spec, [9] * 130, [(70, 5), (131, 6)], echo=True),
        ]
        tally = Tally()
        for request, answer in zip(requests, collect(engine, requests), strict=True):
            agreement.compare(spec, request, answer, tally)
        assert engine.device.image_batches == (1, 2, 4) and tally.counts["tokens"] > 4
    finally:
        engine.close()


def test_a_prompt_that_ends_with_an_image_is_looked_at_once(
    seeing: Bundle, seeing_engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all of its choices."""
    device = seeing_engine.device
    look, looked = device.program.look, []

    def counted(weights: Any, pixels: np.ndarray) -> Any:
        looked.append(len(pixels))
        return look(weights, pixels)

    monkeypatch.setattr(device, "program", device.program._replace(look=counted))
    (answer,) = collect(seeing_engine, [asked(seeing, [5, 6], [(2, 8)], n=4, seed=99)])
    assert answer.error is None and looked == [1]


def test_the_same_image_is_the_same_by_its_pixels() -> None:
    one, other = image(1, 12), image(2, 12)
    copy = type(one).of(one.pixels.copy())
    assert one.digest == copy.digest != other.digest


def test_bfloat16_is_float32_to_its_precision() -> None:
    """Eight bits of precision, through a few layers: a few hundredths of the spread."""
    directory = GOLDENS / "llava_plain"
    golden, vision = np.load(directory / "golden.npz"), load(directory, jnp.bfloat16).vision
    assert vision is not None
    rows = apply(features, vision, golden["pixels"])
    assert rows.dtype == jnp.bfloat16
    error = np.abs(np.asarray(rows, np.float32) - golden["features"])
    assert error.max() < 0.05 * np.ptp(golden["features"])
