"""A model over several devices: eight that a CPU pretends to be (tests/conftest.py)."""

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
from conformance.parity.harness.backends import Backend, NoText
from conformance.parity.harness.property import OfModel
from conformance.parity.harness.requests import Asked, collect
from conformance.parity.harness.tolerance import near
from conformance.parity.harness.twins import SEEING, SMALL, Paged, apply, saved
from conformance.parity.model import llama as whole
from conformance.parity.model.vision import TOWER, features
from jax_backend.model.checkpoint import load
from jax_backend.model.sharding import TP, joined, mesh_of
from jax_backend.numerics.branches import Told
from jax_backend.serving import step
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.executor import Device, Settings
from reference.bundle import Bundle
from reference.model import checkpoint, llama, vision
from reference.model.config import ConfigError
from tests.goldens import GOLDENS
from tests.jax_backend.test_parity import holds

ROOMY = Settings(widths=(4,), pages=160, page_size=32, chunks=(16,))
TIGHT = replace(ROOMY, pages=8)
COLLECTIVE = re.compile(
    r"= \S+ (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
EIGHT: dict[str, Any] = {"num_attention_heads": 8, "intermediate_size": 24, "head_dim": 4}


def collectives(compiled: Any) -> Counter[str]:
    """What the devices tell each other, by the compiled text."""
    return Counter(COLLECTIVE.findall(compiled.as_text()))


@pytest.mark.parametrize("tp", [2, 4, 8])
@pytest.mark.parametrize("kind", ["grouped", "each", "tied", "window"])
def test_the_logits_are_those_of_the_reference(kind: str, tp: int) -> None:
    fields = whole.KINDS[kind] | EIGHT
    if fields.get("num_key_value_heads", 2) == 4 and tp == 8:
        fields = fields | {"num_key_value_heads": 8}
    with saved(0, SMALL | fields) as directory:
        weights, config = checkpoint.load(directory).weights, checkpoint.read_config(directory)
        model = load(directory, mesh=mesh_of(tp))
    tokens = np.random.default_rng(tp).integers(0, config.vocab_size, 30)
    found = Paged(model).read(tokens)
    near(found, llama.logits(weights, llama.hidden_states(weights, config, tokens)))


@pytest.mark.parametrize("tp", [2, 4])
def test_images_are_seen_as_by_the_reference(tp: int) -> None:
    text = SMALL | {"hidden_size": 16} | EIGHT
    tower = TOWER | {"num_attention_heads": 4}
    with saved(0, SEEING | {"text_config": text, "vision_config": tower}) as directory:
        found = checkpoint.load(directory)
        model = load(directory, mesh=mesh_of(tp))
    pixels = np.random.default_rng(tp).normal(size=(2, 3, 14, 14)).astype(np.float32)
    rows = np.asarray(apply(features, model.vision, pixels))
    assert found.weights.vision is not None and found.config.vision is not None
    for image, row in zip(pixels, rows, strict=True):
        near(row, vision.features(found.weights.vision, found.config.vision, image))


@pytest.fixture(scope="module")
def spec() -> Bundle:
    """Two heads of keys for eight of queries: fewer than there are devices."""
    return Bundle(checkpoint.load(GOLDENS / "gqa"), NoText(48, frozenset({0, 1, 2})))


def engine(spec: Bundle, settings: Settings, tp: int) -> JaxEngine:
    model = load(spec.checkpoint.directory, context=256, mesh=mesh_of(tp))
    return JaxEngine(model, spec.checkpoint.eos_token_ids, spec.vocabulary, settings)


@pytest.fixture(scope="module")
def backend(spec: Bundle) -> Iterator[Backend]:
    roomy, tight = engine(spec, ROOMY, 4), engine(spec, TIGHT, 4)
    yield Backend(spec, roomy, tight, lambda: tight.scheduler.preempted, lambda: None)
    roomy.close()
    tight.close()


@pytest.mark.parametrize("one", PROPERTIES, ids=lambda one: one.name)
def test_an_engine_has_the_property(one: OfModel, backend: Backend) -> None:
    """Whole requests are those of the reference, and the same to the bit in a crowd."""
    assert holds(one.of(backend), 0.3).other <= 1


def test_nothing_is_compiled_after_the_start(backend: Backend) -> None:
    assert isinstance(backend.roomy, JaxEngine)
    program = backend.roomy.device.program
    functions = program.read, program.feed, step.draw, step.admit, step.copy_page
    before = [f._cache_size() for f in functions]
    requests = [
        Asked(list(range(n + 1)), {"seed": n, "max_tokens": 9, "n": 1 + n % 3, **fields}).request
        for n in range(40)
        for fields in ({}, {"logprobs": 3, "echo": True}, {"response_format": OBJECT})
    ]
    assert all(answer.error is None for answer in collect(backend.roomy, requests))
    assert [f._cache_size() for f in functions] == before


OBJECT = {"type": "json_object"}


@pytest.mark.parametrize("name", ["gqa", "mqa_tied", "biases", "llava_plain"])
def test_each_device_holds_its_part(name: str) -> None:
    """Of every matrix; of keys and values that are fewer than the devices, a head. On all of them
    are norms, biases of what is summed, and what a tower begins with.
    """
    model = load(GOLDENS / name, mesh=mesh_of(2))
    leaves = jax.tree_util.tree_leaves_with_path(nnx.split(model)[1])
    for path, leaf in leaves:
        place = jax.tree_util.keystr(path)
        small = leaf.ndim == 1 or "rotation" in place or "_embedding" in place
        if not small:
            assert TP in leaf.sharding.spec, place
            assert leaf.addressable_shards[0].data.size * 2 == leaf.size, place


@pytest.mark.parametrize(("name", "tp"), [("gqa", 4), ("gqa", 8), ("mqa_tied", 4), ("biases", 4)])
def test_devices_tell_each_other_no_more_than_they_must(name: str, tp: int) -> None:
    """What a layer adds to the residual is summed twice, the embedding once; logits are gathered.
    Drawing needs nothing.
    """
    found = checkpoint.load(GOLDENS / name)
    spec = Bundle(found, NoText(found.config.vocab_size))
    model = load(GOLDENS / name, context=64, mesh=mesh_of(tp))
    settings = Settings(widths=(4,), pages=4, page_size=32, chunks=(16,))
    device = Device(model, frozenset(), spec.vocabulary, settings)
    zeros = np.zeros(4, np.int32)
    rows = step.Rows(zeros, zeros, zeros, np.zeros((4, device.table), np.int32))
    arguments = device.weights, device.layers, device.slots.token, rows, None
    feed = device.program.feed.lower(*arguments).compile()
    sums = 2 * found.config.num_hidden_layers + 1
    assert collectives(feed) == {"all-reduce": sums, "all-gather": 1}
    gathered = re.findall(r"f32\[([\d,]+)\]\S* all-gather\(", feed.as_text())
    sizes = [math.prod(map(int, shape.split(","))) for shape in gathered]
    assert sizes == [4 * device.vocab_size]  # logits, and no weight
    _, logits = device.program.feed(*arguments)
    assert logits.sharding.is_fully_replicated
    draw = step.draw.lower(
        device.slots, rows, logits, device.no_masks[4], device.top, Told()
    ).compile()
    assert collectives(draw) == {}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"num_attention_heads": 6, "num_key_value_heads": 6}, "num_attention_heads: 6"),
        ({"intermediate_size": 22}, "intermediate_size: 22"),
        ({"num_attention_heads": 12, "num_key_value_heads": 3}, "num_key_value_heads: 3"),
    ],
)
def test_what_cannot_be_shared_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with saved(0, SMALL | EIGHT | fields) as directory:
        with pytest.raises(ConfigError, match=f"^{field}"):
            load(directory, mesh=mesh_of(4))


def test_more_devices_than_there_are_are_refused() -> None:
    assert mesh_of(1) is None
    for tp in 0, 9:
        with pytest.raises(ValueError, match=f"mesh: tp={tp}, and there are 8 devices"):
            mesh_of(tp)


def test_parts_are_joined_for_each_device_by_itself() -> None:
    a, b = np.arange(4), np.arange(10, 18)
    assert joined([a, b], 1).tolist() == [*a, *b]
    assert joined([a, b], 2).tolist() == [0, 1, 10, 11, 12, 13, 2, 3, 14, 15, 16, 17]


def test_pages_lie_where_their_heads_are() -> None:
    model = load(GOLDENS / "gqa", context=64, mesh=mesh_of(8))
    for layer in step.empty_pages(model, 3, 32):
        for leaf in jax.tree.leaves(layer):
            assert leaf.sharding.spec == P(None, TP) and leaf.shape[1] == 8
