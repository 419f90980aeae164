"""Copies between the host and devices, some of which may belong to other hosts."""

from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Sharding


def to_host(array: Array) -> np.ndarray:
    """Return the whole array. If other hosts have parts of it, they all must call this."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def to_devices(tree: Any, sharding: Sharding | None) -> Any:
    """Copy arrays that every host has to its devices, each device only its part. sharding: None for
    the default device.
    """
    if sharding is None or sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    # `device_put` would compare the arrays of all hosts, at the cost of a collective each.
    return jax.tree.map(lambda leaf: part_of_devices(np.asarray(leaf), sharding), tree)


def part_of_devices(array: np.ndarray, sharding: Sharding) -> Array:
    """Copy the part of an array that each device of this host has."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
