"""Runs a command in a root file system, in mount and process namespaces of its own.

The command is process 1, as in a container: the kernel does not deliver a signal to it that it has
no handler for. The host's network and /usr are shared. Requires root, and util-linux.
"""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Mount:
    """A folder of the host that the command sees at `target`."""

    source: Path
    target: str
    read_only: bool = False


def start(
    root: Path,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    user: str = "0:0",
    workdir: str = "/",
    mounts: Sequence[Mount] = (),
    read_only: bool = False,
    output: IO[bytes] | int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command as process 1 of a namespace.

    user: "uid:gid". read_only: whether `root` is, except for the mounts. output: of stdout and
    stderr. Every user except 0 has no capabilities and cannot gain any. Killing the returned
    process kills the command.
    """
    quoted_root = shlex.quote(str(root))
    script = [
        "mount --make-rprivate /",
        f"mount --bind {quoted_root} {quoted_root}",
        f"mount -t proc proc {quoted_root}/proc",
        f"mount --bind /dev {quoted_root}/dev",
    ]
    for mount in mounts:
        target = quoted_root + shlex.quote(mount.target)
        script.append(f"mount --bind {shlex.quote(str(mount.source))} {target}")
        if mount.read_only:
            script.append(f"mount -o remount,bind,ro {target}")
    if read_only:
        script.append(f"mount -o remount,bind,ro {quoted_root}")
    uid, gid = user.split(":")
    drop = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"] if uid != "0" else []
    inner = [
        *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *drop, "--"),
        *("env", "-i", *(f"{name}={value}" for name, value in env.items())),
        *("sh", "-c", 'cd "$0" && exec "$@"', workdir, *command),
    ]
    script.append(f"exec chroot {quoted_root} {shlex.join(inner)}")
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return subprocess.Popen(
        [*namespaces, "sh", "-euc", "\n".join(script)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
    )


def init_pid(process: subprocess.Popen[bytes]) -> int | None:
    """Return the host's id of process 1 of a namespace, None if it has ended."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    except FileNotFoundError:
        return None
    return int(children) if children.strip() else None


def signal_init(process: subprocess.Popen[bytes], signal: int) -> None:
    """Send a signal to process 1 of a namespace, if it still runs."""
    pid = init_pid(process)
    if pid is not None:
        os.kill(pid, signal)
