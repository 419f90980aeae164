"""Which kind of device a computation is compiled for: JAX's default, or one that is not here."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_elsewhere: ContextVar[str | None] = ContextVar("platform", default=None)


def platform() -> str:
    """As `jax.default_backend` calls it."""
    return _elsewhere.get() or jax.default_backend()


def on_gpu() -> bool:
    return platform() in ("gpu", "cuda", "rocm")


@contextmanager
def compiling_for(name: str) -> Iterator[None]:
    """What is traced in this block is for devices of another kind than there are."""
    token = _elsewhere.set(name)
    try:
        yield
    finally:
        _elsewhere.reset(token)
