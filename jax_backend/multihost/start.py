"""Start of one process of a group: join, compile, and wait until all have compiled."""

import atexit
import logging
import os
import platform
import sys
from typing import Protocol

import numpy as np

from jax_backend.multihost.engine import FollowerEngine
from jax_backend.multihost.follower import Follower
from jax_backend.multihost.leader import Leader
from jax_backend.multihost.listener import Listener
from jax_backend.multihost.messages import CompileLanguage
from jax_backend.multihost.settings import Group, Hosts
from jax_backend.multihost.turns import FollowerTurns, LeaderTurns
from jax_backend.serving.changes import Turns
from jax_backend.serving.engine import JaxEngine

logger = logging.getLogger(__name__)


class Start(Protocol):
    """Compiles and starts an engine."""

    def __call__(self, engine_type: type[JaxEngine], turns: Turns) -> JaxEngine: ...


def start_engine(
    start: Start, hosts: Hosts, group: Group, build: str, compile_language: CompileLanguage
) -> JaxEngine:
    """Start the engine of this process once all have joined, and return when all have compiled.

    build: see `Listener`. Raises OSError, for example `follower.Refused`.
    """
    build = f"python {platform.python_version()} numpy {np.__version__} {build}"
    link: Leader | Follower
    if group.is_leader:
        listener = Listener(group.address, group.count, hosts.secret, build)
        link = Leader(listener.accept(hosts.join_timeout), hosts.heartbeat_timeout)
        link.on_failure(exit_process)
        engine = start(JaxEngine, LeaderTurns(link))
        link.wait_until_ready(selected_launches(engine), hosts.join_timeout)
        atexit.register(link.wait_for_exit)  # before JAX's own handler, which is older
    else:
        link = Follower(group, hosts, build)
        link.on_failure(exit_process)
        engine = start(FollowerEngine, FollowerTurns(link, compile_language))
        link.ready(selected_launches(engine))
    link.on_failure(engine.fail)
    return engine


def exit_process(error: Exception) -> None:
    """Exit with status 1. While the engine starts, this thread may wait forever for a device of
    the process that is gone.
    """
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def selected_launches(engine: JaxEngine) -> str:
    """Return which launches an engine uses: those that are batch-invariant on its devices."""
    executor = engine.executor
    images = executor.images.batch_sizes
    return f"{executor.batch_sizes} {executor.layout} {images} {engine.scheduler.cache_output}"
