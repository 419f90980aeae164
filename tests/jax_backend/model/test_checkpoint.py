"""Loading: what is read from the files, for which device, and failures."""

from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from conformance.parity.harness.twins import SMALL, saved_checkpoint
from conformance.parity.model.llama import KINDS
from jax_backend.model import checkpoint as loading
from jax_backend.model.checkpoint import load
from jax_backend.model.sharding import make_mesh
from reference.model import checkpoint
from reference.model.stored_tensors import SINGLE, CheckpointError, StoredTensor
from reference.model.weights import expected_tensors
from tests.goldens import GOLDENS

EIGHT = {"num_attention_heads": 8, "intermediate_size": 24, "head_dim": 4, "vocab_size": 40}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Each read of a tensor: its name, the bytes that are read, and all its bytes."""
    result: list[tuple[str, int, int]] = []
    read = StoredTensor.read

    def watched(self: StoredTensor, index: Any = ...) -> np.ndarray:
        part = read(self, index)
        result.append((self.name, part.nbytes, int(np.prod(self.shape)) * part.itemsize))
        return part

    monkeypatch.setattr(StoredTensor, "read", watched)
    return result


@pytest.mark.parametrize("kind", ["grouped", "int8_weights", "int8", "fp8_blocks"])
def test_device_reads_its_shards_only(kind: str, reads: list[tuple[str, int, int]]) -> None:
    fields = KINDS[kind] | EIGHT | {"num_key_value_heads": 4}
    with saved_checkpoint(0, SMALL | fields) as directory:
        model = load(directory, mesh=make_mesh(4))
    matrices = [item for item in reads if item[0].endswith(("proj.weight", "weight_packed"))]
    matrices += [item for item in reads if "embed" in item[0] or "lm_head" in item[0]]
    assert matrices and {size * 4 for _, size, _ in matrices} == {total for _, _, total in matrices}
    assert set(Counter(name for name, _, _ in matrices).values()) == {4}
    assert len(jax.devices()) > 4 and len(model.embed_tokens[...].sharding.device_set) == 4


def test_heads_are_read_again_for_each_device_that_repeats_them(
    reads: list[tuple[str, int, int]],
) -> None:
    with saved_checkpoint(0, SMALL | EIGHT | {"num_key_value_heads": 2}) as directory:
        load(directory, mesh=make_mesh(8))
    keys = [
        size / total for name, size, total in reads if name.endswith("0.self_attn.k_proj.weight")
    ]
    assert keys == [1 / 2] * 8


@pytest.mark.parametrize("tp", [1, 2, 4])
@pytest.mark.parametrize("kind", ["biases", "int8_weights", "int8", "fp8_blocks"])
def test_fused_parts_are_interleaved_by_shard(kind: str, tp: int) -> None:
    """Each device has its share of queries, then of keys, then of values."""
    fields = KINDS[kind] | EIGHT | {"num_key_value_heads": 2}
    with saved_checkpoint(0, SMALL | fields) as directory:
        weights = checkpoint.load(directory).weights.layers[1]
        layer = load(directory, mesh=make_mesh(tp)).layers[1]
    repeats = max(1, tp // 2)
    parts = [weights.q_proj.weight]
    for linear in weights.k_proj, weights.v_proj:
        heads = linear.weight.reshape(2, 4, -1)
        parts.append(np.repeat(heads, repeats, axis=0).reshape(-1, heads.shape[2]))
    shares = [np.split(part, tp) for part in parts]
    expected = np.concatenate([part[device] for device in range(tp) for part in shares])
    np.testing.assert_allclose(dequantized(layer.qkv_proj), expected, rtol=1e-6)
    np.testing.assert_allclose(dequantized(layer.down_proj), weights.down_proj.weight, rtol=1e-6)


def dequantized(linear: Any) -> np.ndarray:
    numbers = np.asarray(linear.weight[...]).astype(np.float32)
    if linear.weight_scale is None:
        return numbers
    columns = linear.scheme.columns or numbers.shape[1]
    scales = np.repeat(np.asarray(linear.weight_scale[...]), columns, axis=1)
    return numbers * scales[:, : numbers.shape[1]]


def test_quantized_weights_stay_quantized() -> None:
    with saved_checkpoint(0, SMALL | KINDS["int8"]) as directory:
        model = load(directory, jnp.bfloat16)
    linear = model.layers[0].down_proj
    assert linear.weight[...].dtype == jnp.int8
    assert linear.weight_scale is not None and linear.weight_scale[...].dtype == jnp.float32
    assert model.norm[...].dtype == jnp.bfloat16


@pytest.mark.parametrize("kind", ["grouped", "fp8"])
def test_progress_ends_with_all_bytes(kind: str) -> None:
    reports: list[tuple[int, int]] = []
    with saved_checkpoint(0, SMALL | KINDS[kind]) as directory:
        model = load(directory, progress=lambda name, done, total: reports.append((done, total)))
        stored = expected_tensors(checkpoint.read_config(directory))
    sizes = [leaf.nbytes for leaf in jax.tree.leaves(nnx.state(model))]
    assert len(reports) <= len(list(stored))
    assert reports == sorted(reports)
    assert reports[-1] == (sum(sizes) - model.rotation[...].nbytes,) * 2


def test_error_of_one_tensor_ends_the_loading(tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    tensors = load_file(GOLDENS / "gqa" / SINGLE)
    tensors[name] = np.full_like(tensors[name], np.nan)
    save_file(tensors, tmp_path / SINGLE)
    (tmp_path / "config.json").write_text((GOLDENS / "gqa" / "config.json").read_text())
    for tp in 1, 2:
        with pytest.raises(CheckpointError, match=f"{name}: contains NaN"):
            load(tmp_path, mesh=make_mesh(tp))


def test_number_of_parameters_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most `PARALLEL` parameters are on their way to the devices at a time."""
    active, most = [0], [0]
    put = loading.put

    def watched(*arguments: Any) -> jax.Array:
        active[0] += 1
        most[0] = max(most[0], active[0])
        result = put(*arguments)
        active[0] -= 1
        return result

    monkeypatch.setattr(loading, "put", watched)
    load(GOLDENS / "gqa")
    assert 1 <= most[0] <= loading.PARALLEL
