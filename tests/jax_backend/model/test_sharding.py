"""Tensor parallelism over eight simulated CPU devices (tests/conftest.py)."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from conformance.parity.engine import PROPERTIES
from conformance.parity.harness.backends import Backend, IdsOnlyTokenizer
from conformance.parity.harness.property import Coverage, EngineProperty
from conformance.parity.harness.requests import RequestSpec, collect
from conformance.parity.harness.tolerance import assert_near
from conformance.parity.harness.twins import (
    SMALL,
    VISION,
    PagedSequence,
    Twins,
    apply,
    saved_checkpoint,
)
from conformance.parity.model import llama as llama_parity
from conformance.parity.model.vision import TOWER, features
from jax_backend.model.checkpoint import load
from jax_backend.model.sharding import TP, make_mesh
from jax_backend.numerics.branches import StaticFlags
from jax_backend.serving import decode, state
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.executor import (
    Executor,
)
from jax_backend.serving.program import LaunchImages
from jax_backend.serving.settings import Settings
from reference.bundle import Bundle
from reference.model import checkpoint, vision
from reference.model.config import ConfigError
from tests.goldens import GOLDENS
from tests.jax_backend.properties import assert_rarely_flipped, check_property

LARGE = Settings(
    batch_sizes=(4,), num_pages=160, page_size=32, prefill_sizes=(16,), segment_size=16
)
SMALL_CACHE = replace(LARGE, num_pages=8)
COLLECTIVE = re.compile(
    r"= \S+ (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
EIGHT: dict[str, Any] = {"num_attention_heads": 8, "intermediate_size": 24, "head_dim": 4}


def collectives(compiled: Any) -> Counter[str]:
    """Count the collectives in the compiled program."""
    return Counter(COLLECTIVE.findall(compiled.as_text()))


LOGITS = [(kind, tp) for kind in ("grouped", "each", "tied", "window") for tp in (2, 4, 8)]
LOGITS += [("int8", 4), ("fp8_blocks", 4)]
MORE_LOGITS = [(kind, tp) for kind in llama_parity.QUANTIZED for tp in (2, 4, 8)]


@pytest.mark.parametrize(
    ("kind", "tp"),
    LOGITS + [pytest.param(*case, marks=pytest.mark.lane) for case in MORE_LOGITS],
)
def test_logits_match_the_reference(kind: str, tp: int) -> None:
    fields = llama_parity.KINDS[kind] | EIGHT
    if fields.get("num_key_value_heads", 2) == 4 and tp == 8:
        fields = fields | {"num_key_value_heads": 8}
    with saved_checkpoint(0, SMALL | fields) as directory:
        loaded = checkpoint.load(directory)
        pair = Twins(loaded.config, loaded.weights, load(directory, mesh=make_mesh(tp)))
    tokens, coverage = np.random.default_rng(tp).integers(0, 37, 30), Coverage()
    logits = PagedSequence(pair.model).prefill(tokens)
    llama_parity.check_logits(pair, tokens, logits, coverage)
    assert coverage.borderline < len(tokens) / 2


@pytest.mark.parametrize("tp", [2, 4])
def test_image_embeddings_match_the_reference(tp: int) -> None:
    text = SMALL | {"hidden_size": 16} | EIGHT
    tower = TOWER | {"num_attention_heads": 4}
    with saved_checkpoint(0, VISION | {"text_config": text, "vision_config": tower}) as directory:
        loaded = checkpoint.load(directory)
        model = load(directory, mesh=make_mesh(tp))
    pixels = np.random.default_rng(tp).normal(size=(2, 3, 14, 14)).astype(np.float32)
    rows = np.asarray(apply(features, model.vision, pixels))
    assert loaded.weights.vision is not None and loaded.config.vision is not None
    for image, row in zip(pixels, rows, strict=True):
        assert_near(row, vision.features(loaded.weights.vision, loaded.config.vision, image))


@pytest.fixture(scope="module")
def spec() -> Bundle:
    """A model with two KV heads for eight query heads: fewer KV heads than devices."""
    return Bundle.from_parts(
        checkpoint.load(GOLDENS / "gqa"), IdsOnlyTokenizer(48, frozenset({0, 1, 2}))
    )


def engine(spec: Bundle, settings: Settings, tp: int) -> JaxEngine:
    model = load(spec.checkpoint.directory, context=256, mesh=make_mesh(tp))
    return JaxEngine(model, spec.checkpoint.eos_token_ids, spec.vocabulary, settings)


@pytest.fixture(scope="module")
def backend(spec: Bundle) -> Iterator[Backend]:
    large, small = engine(spec, LARGE, 4), engine(spec, SMALL_CACHE, 4)
    yield Backend(spec, large, small, lambda: small.scheduler.num_preemptions, lambda: None)
    large.close()
    small.close()


@pytest.mark.lane
@pytest.mark.parametrize("tested", PROPERTIES, ids=lambda p: p.name)
def test_engine_property(tested: EngineProperty, backend: Backend) -> None:
    """Requests agree with the reference and are bitwise identical under concurrent load."""
    assert_rarely_flipped(check_property(tested.bind(backend), 0.3))


@pytest.mark.lane
def test_requests_cause_no_compilation_after_startup(backend: Backend) -> None:
    assert isinstance(backend.large_cache, JaxEngine)
    program = backend.large_cache.executor.program
    functions = (
        program.forward,
        program.prompt_logprobs,
        decode.sample_step,
        state.set_slot,
        state.copy_page,
    )
    before = [f._cache_size() for f in functions]
    requests = [
        RequestSpec(
            list(range(n + 1)), {"seed": n, "max_tokens": 9, "n": 1 + n % 3, **fields}
        ).request
        for n in range(40)
        for fields in ({}, {"logprobs": 3, "echo": True}, {"response_format": OBJECT})
    ]
    assert all(output.error is None for output in collect(backend.large_cache, requests))
    assert [f._cache_size() for f in functions] == before


OBJECT = {"type": "json_object"}


@pytest.mark.parametrize("name", ["gqa", "mqa_tied", "biases", "llava_plain"])
def test_weights_are_sharded(name: str) -> None:
    """Every matrix is sharded, with KV heads repeated if there are too few. Norms, biases of summed
    outputs and the embeddings of a vision tower are replicated.
    """
    model = load(GOLDENS / name, mesh=make_mesh(2))
    leaves = jax.tree_util.tree_leaves_with_path(nnx.split(model)[1])
    for path, leaf in leaves:
        name_path = jax.tree_util.keystr(path)
        small = leaf.ndim == 1 or "rotation" in name_path or "_embedding" in name_path
        if not small:
            assert TP in leaf.sharding.spec, name_path
            assert leaf.addressable_shards[0].data.size * 2 == leaf.size, name_path


@pytest.mark.parametrize(("name", "tp"), [("gqa", 4), ("gqa", 8), ("mqa_tied", 4), ("biases", 4)])
def test_collectives_are_minimal(name: str, tp: int) -> None:
    """A layer has two all-reduces and the embedding one; logits are gathered once. Sampling has no
    collectives.
    """
    loaded = checkpoint.load(GOLDENS / name)
    spec = Bundle.from_parts(loaded, IdsOnlyTokenizer(loaded.config.vocab_size))
    model = load(GOLDENS / name, context=64, mesh=make_mesh(tp))
    settings = Settings(
        batch_sizes=(4,), num_pages=4, page_size=32, prefill_sizes=(16,), segment_size=16
    )
    executor = Executor(model, frozenset(), spec.vocabulary, settings)
    zeros = np.zeros(4, np.int32)
    rows = state.BatchInputs(
        zeros, zeros, zeros, np.zeros((4, executor.pages_per_sequence), np.int32)
    )
    arguments = executor.weights, executor.layers, executor.slots.last_token, rows, None
    feed = executor.program.forward.lower(*arguments, LaunchImages()).compile()
    sums = 2 * loaded.config.num_hidden_layers + 1
    assert collectives(feed) == {"all-reduce": sums, "all-gather": 1}
    gathered = re.findall(r"f32\[([\d,]+)\]\S* all-gather\(", feed.as_text())
    sizes = [math.prod(map(int, shape.split(","))) for shape in gathered]
    assert sizes == [4 * executor.vocab_size]  # logits, not weights
    _, logits, _ = executor.program.forward(*arguments, LaunchImages())
    assert logits.sharding.is_fully_replicated
    draw = decode.sample_step.lower(
        executor.slots, rows, logits, executor.full_masks[4], executor.num_logprobs, StaticFlags()
    ).compile()
    assert collectives(draw) == {}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"num_attention_heads": 6, "num_key_value_heads": 6}, "num_attention_heads.*got 6"),
        ({"intermediate_size": 22}, "intermediate_size.*got 22"),
        ({"num_attention_heads": 12, "num_key_value_heads": 3}, "num_key_value_heads.*got 3"),
    ],
)
def test_indivisible_sizes_are_refused(fields: dict[str, Any], field: str) -> None:
    with saved_checkpoint(0, SMALL | EIGHT | fields) as directory:
        with pytest.raises(ConfigError, match=f"^{field}"):
            load(directory, mesh=make_mesh(4))


def test_too_many_devices_are_refused() -> None:
    assert make_mesh(1) is None
    for tp in 0, 9:
        with pytest.raises(ValueError, match=f"mesh: .*the 8 devices, got tp={tp}"):
            make_mesh(tp)


def test_pages_are_sharded_by_head() -> None:
    model = load(GOLDENS / "gqa", context=64, mesh=make_mesh(8))
    for layer in state.empty_pages(model, 3, 32):
        for leaf in jax.tree.leaves(layer):
            assert leaf.sharding.spec == P(None, TP) and leaf.shape[1] == 8
