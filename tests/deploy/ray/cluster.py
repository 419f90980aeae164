"""Ray Serve with two replicas, started by the command of the documentation."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "ray"
SCRIPTS = ROOT / ".venv-ray" / "bin"
START_SECONDS = 300.0
SLOTS, QUEUED = 4, 2


def config(port: int) -> dict[str, Any]:
    """Return the configuration of the repository, for two small replicas on another port."""
    result: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text())
    result["http_options"]["port"] = port
    [application] = result["applications"]
    application["args"]["options"] = {"slots": SLOTS, "allow-open": True}
    [deployment] = application["deployments"]
    del deployment["autoscaling_config"]
    deployment |= {"num_replicas": 2, "max_ongoing_requests": SLOTS, "max_queued_requests": QUEUED}
    deployment["ray_actor_options"] = {"num_cpus": 0.5}
    return result


@contextmanager
def serving(port: int) -> Iterator[str]:
    """Run `serve run` until the end of the block. Yields the address."""
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(config(port)))
        log = Path(folder) / "log"
        environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{FOLDER}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{SCRIPTS}:{os.environ['PATH']}",
        }
        with log.open("w") as output:
            process = subprocess.Popen(
                [SCRIPTS / "serve", "run", str(file)],
                cwd=FOLDER,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until_ready(process, address, log)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                pass
            subprocess.run([SCRIPTS / "ray", "stop", "--force"], capture_output=True, check=False)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Wait until both replicas are ready. Raises AssertionError with the log."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            ready = httpx.get(f"{address}/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            ready = False
        if ready and len(replica_pids()) == 2:
            return
        time.sleep(0.5)
    raise AssertionError(log.read_text()[-6000:])


def replica_pids() -> list[int]:
    """Return the processes of the replicas. Ray names a process after its actor."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"ray::ServeReplica:completions:Completions"):
            pids.append(int(folder.name))
    return pids


if __name__ == "__main__":
    with serving(int(sys.argv[1])) as started:
        print(started, replica_pids())
        signal.pause()
