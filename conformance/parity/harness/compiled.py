"""Functions of the JAX backend, each compiled once for the shapes of the examples."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax


@cache
def compiled(function: Callable[..., Any], *static: int) -> Callable[..., Any]:
    """Return the compiled function. static: the indices of static arguments."""
    result: Callable[..., Any] = jax.jit(function, static_argnums=static)
    return result
