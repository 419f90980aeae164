"""Which process of how many this is, and the start of JAX's distributed runtime."""

import socket
from dataclasses import dataclass

import jax
import numpy as np
from jax.experimental import multihost_utils


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """A group of processes that serve one model.

    count, rank: None for both, and for `coordinator`, to detect a cluster that JAX knows (Slurm,
    Open MPI, a TPU slice, ...). coordinator: HOST:PORT of rank 0, for JAX's coordination service.
    port: of rank 0, for the changes of requests. secret: known to all processes; it authenticates
    these changes. join_timeout: seconds in which all processes must have started.
    heartbeat_timeout: seconds without a sign of life after which a process counts as dead.
    """

    secret: str
    count: int | None = None
    rank: int | None = None
    coordinator: str | None = None
    port: int | None = None
    join_timeout: float = 300.0
    heartbeat_timeout: float = 8.0

    def __post_init__(self) -> None:
        """Raise ValueError, naming the option, if the values do not fit together."""
        given = [value is not None for value in (self.count, self.rank, self.coordinator)]
        if any(given) and not all(given):
            raise ValueError("hosts: needs all of --hosts N, --rank and --coordinator, or no one")
        if self.count is not None and self.rank is not None and not 0 <= self.rank < self.count:
            raise ValueError(f"rank: must be within 0 … {self.count - 1}, got {self.rank}")
        if self.coordinator is not None:
            split_address(self.coordinator)
        if not self.secret:
            raise ValueError("hosts: needs a secret that all processes share (--hosts-secret)")


@dataclass(frozen=True)
class Group:
    """A group whose processes have met. address: of the leader, for the changes of requests."""

    rank: int
    count: int
    address: tuple[str, int]

    @property
    def is_leader(self) -> bool:
        return self.rank == 0


def split_address(text: str) -> tuple[str, int]:
    """Parse HOST:PORT. Raises ValueError."""
    host, separator, port = text.rpartition(":")
    if not (separator and host and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(f"coordinator: must be HOST:PORT, got {text!r}")
    return host.strip("[]"), int(port)


def initialize(hosts: Hosts) -> None:
    """Start JAX's distributed runtime and wait for all processes. Must precede any use of a device.

    Raises TimeoutError if a process is missing after `join_timeout`.
    """
    # Otherwise the death of a follower aborts the leader, before its requests end with an error.
    jax.config.update("jax_enable_recoverability", True)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Programs that do not depend on each other, as the vision encoder and a decoding step, would
    # run at the same time on a CPU, and gloo would connect the collectives of one with the other's.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(
            coordinator_address=hosts.coordinator,
            num_processes=hosts.count,
            process_id=hosts.rank,
            initialization_timeout=int(hosts.join_timeout),
            coordinator_bind_address=hosts.coordinator if hosts.rank == 0 else None,
        )
    except RuntimeError as error:
        raise TimeoutError(f"hosts: {error}") from error


def group_of(hosts: Hosts) -> Group:
    """Return the group of processes that have met. Every process must call this.

    Raises ValueError if the cluster was detected and `port` is None.
    """
    rank, count = jax.process_index(), jax.process_count()
    if hosts.coordinator is None:
        host, port = leader_host(), hosts.port or 0
        if not port:
            raise ValueError("hosts: a detected cluster needs --hosts-port")
    else:
        host, port = split_address(hosts.coordinator)
        port = hosts.port or port + 1
    return Group(rank, count, (host, port))


def leader_host() -> str:
    """Return the name of rank 0's machine, on every process."""
    name = np.zeros(256, np.uint8)
    own = socket.getfqdn().encode()[:256]
    name[: len(own)] = list(own)
    shared = np.asarray(multihost_utils.broadcast_one_to_all(name))
    return bytes(shared.tolist()).rstrip(b"\0").decode()
