"""A pod: the container of a Deployment with its user, mounts, environment and arguments."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy import sandbox
from tests.deploy.image import Image
from tests.deploy.manifests import Manifest
from tests.deploy.sandbox import Mount

PORT = "COMPLETIONS_PORT"
Secrets = Mapping[str, Mapping[str, str]]


class Pod:
    """A pod of one container. Its port is mapped to `port` of this machine.

    claims: the folder of each persistent volume claim. secrets: their values by name and key.
    folder: for empty volumes and the log.
    """

    def __init__(
        self,
        template: Manifest,
        image: Image,
        *,
        folder: Path,
        claims: Mapping[str, Path],
        secrets: Secrets,
        port: int,
    ) -> None:
        self.spec: Manifest = template["spec"]
        [self.container] = self.spec["containers"]
        self.image, self.folder, self.port = image, folder, port
        self.claims, self.secrets = claims, secrets
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return the environment: of the image, then of the manifest. Raises KeyError if a secret
        is missing. The port is replaced: the processes of all pods share the ports of this machine.
        """
        [port] = self.container["ports"]
        env = {**self.image.env, "HOME": "/"}
        assert env[PORT] == str(port["containerPort"])
        for variable in self.container.get("env", []):
            env[variable["name"]] = self.value(variable)
        return {**env, PORT: str(self.port)}

    def value(self, variable: Manifest) -> str:
        if "value" in variable:
            return str(variable["value"])
        reference = variable["valueFrom"]["secretKeyRef"]
        return self.secrets[reference["name"]][reference["key"]]

    def mounts(self) -> list[Mount]:
        """Return the mounts of the container. Volumes that it may write belong to `fsGroup`."""
        volumes = {volume["name"]: volume for volume in self.spec["volumes"]}
        result = []
        for mount in self.container["volumeMounts"]:
            source, read_only = self.volume(volumes[mount["name"]])
            target = mount["mountPath"]
            (self.image.root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
            result.append(Mount(source, target, read_only or mount.get("readOnly", False)))
        return result

    def volume(self, volume: Manifest) -> tuple[Path, bool]:
        """Return the folder of a volume, and whether the pod mounts it read-only."""
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]
            folder, read_only = self.claims[claim["claimName"]], claim.get("readOnly", False)
        else:
            assert "emptyDir" in volume
            folder, read_only = self.folder / volume["name"], False
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        if not read_only:
            shutil.chown(folder, group=self.spec["securityContext"]["fsGroup"])
            folder.chmod(folder.stat().st_mode | 0o2070)
        return folder, read_only

    def start(self) -> None:
        """Start the container. Raises ValueError if its user is root but must not be."""
        context = {**self.spec["securityContext"], **self.container["securityContext"]}
        if context["runAsNonRoot"] and context["runAsUser"] == 0:
            raise ValueError("runAsNonRoot: the user is 0")
        command = self.container.get("command", self.image.entrypoint)
        with self.log.open("wb") as output:
            self.process = sandbox.start(
                self.image.root,
                [*command, *self.container.get("args", [])],
                env=self.environment(),
                user=f"{context['runAsUser']}:{context['runAsGroup']}",
                workdir=self.image.workdir,
                mounts=[*self.image.mounts, *self.mounts()],
                read_only=context["readOnlyRootFilesystem"],
                output=output,
            )

    def signal(self, number: int) -> None:
        assert self.process is not None
        sandbox.signal_init(self.process, number)

    def status(self) -> dict[str, str]:
        """Return /proc/…/status of the server."""
        assert self.process is not None
        pid = sandbox.init_pid(self.process)
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {name: text.strip() for name, _, text in (line.partition(":") for line in lines)}

    def exit_code(self, timeout: float | None = None) -> int:
        """Wait for the end of the container. Raises TimeoutExpired."""
        assert self.process is not None
        return self.process.wait(timeout)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Kill the container, if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def folder_entries(folder: Path) -> set[str]:
    """Return the paths of all files below a folder."""
    walk: list[Any] = list(os.walk(folder))
    return {os.path.join(parent, name) for parent, _, names in walk for name in names}
