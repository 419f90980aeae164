"""The platform that a computation is compiled for: JAX's default, unless it is cross-compiled."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_override: ContextVar[str | None] = ContextVar("platform", default=None)


def platform() -> str:
    """Return the platform's name, as `jax.default_backend` spells it."""
    return _override.get() or jax.default_backend()


def on_gpu() -> bool:
    """Return whether the platform is a GPU."""
    return platform() in ("gpu", "cuda", "rocm")


@contextmanager
def compiling_for(name: str) -> Iterator[None]:
    """Trace the code of this block for another platform, whose devices need not be present."""
    token = _override.set(name)
    try:
        yield
    finally:
        _override.reset(token)
