"""Builds the root file system of a Dockerfile, without a container engine.

The base image `python:X.Y-slim` is the host's /usr, with the commands of a Python X.Y in
/usr/local/bin. Instructions that the Dockerfile does not use are refused.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from string import Template

from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

from tests.deploy import sandbox
from tests.deploy.sandbox import Mount

USERS = ("passwd", "group", "shadow", "gshadow", "login.defs")
ETC = (*USERS, "nsswitch.conf", "hosts", "resolv.conf", "ssl", "ld.so.cache")
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a build on a network with a proxy or an index of its own gets as build arguments.
NETWORK = re.compile(r"(https?|no|all)_proxy|SSL_CERT_\w+|PIP_(CERT|\w*INDEX_URL)", re.I)


@dataclass(frozen=True)
class Image:
    """A root file system, and the configuration of its containers. mounts: of the base image."""

    root: Path
    mounts: tuple[Mount, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = "0:0"
    workdir: str = "/"
    volumes: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    healthcheck: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()

    def run(self, *command: str, **env: str) -> tuple[int, str]:
        """Run a command in a container. Return its exit status, and its stdout and stderr."""
        process = sandbox.start(
            self.root,
            command,
            env={**self.env, **env},
            user=self.user,
            workdir=self.workdir,
            mounts=self.mounts,
            read_only=True,
            output=subprocess.PIPE,
        )
        text = process.communicate()[0].decode()
        return process.returncode, text


def interpreter(version: str) -> Path | None:
    """Return the prefix of a Python that is on PATH or was installed by pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python")]
    for candidate in filter(None, candidates):
        command = [candidate, "-c", "import sys; print(sys.base_prefix)"]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode == 0:
            return Path(result.stdout.strip())
    return None


def base_version(dockerfile: Path) -> str:
    """Return the version of Python of the base image: one for all stages."""
    names = re.findall(r"^FROM (\S+)", dockerfile.read_text(), re.M)
    [version] = {name.removeprefix("python:").removesuffix("-slim") for name in names}
    return version


def build_context(root: Path) -> list[str]:
    """Return the files that `COPY . .` copies."""
    patterns = [
        line
        for line in (root / ".dockerignore").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    sent = exclude_paths(str(root), patterns) - {".dockerignore"}  # sent, but not copied
    return sorted(path for path in sent if (root / path).is_file())


class Builder:
    """Runs the instructions of a Dockerfile. folder: for the root file systems of its stages."""

    def __init__(self, context: Path, folder: Path, python: Path, **arguments: str) -> None:
        self.context, self.folder, self.python = context, folder, python
        self.arguments = arguments
        self.stages: dict[str, Image] = {}
        self.build_env: dict[str, str] = {}

    def build(self, dockerfile: Path) -> Image:
        """Build all stages and return the last. Raises CalledProcessError if a command fails."""
        parser = DockerfileParser(fileobj=BytesIO(dockerfile.read_bytes()))
        image: Image | None = None
        for item in parser.structure:
            if item["instruction"] == "COMMENT":
                continue
            if item["instruction"] == "FROM":
                image = self.start_stage(item["value"])
            else:
                assert image is not None
                method = getattr(self, "do_" + item["instruction"].lower())
                image = method(image, item["value"])
        assert image is not None
        return image

    def start_stage(self, value: str) -> Image:
        name = value.split()[2] if " AS " in value else str(len(self.stages))
        self.build_env = {k: v for k, v in os.environ.items() if NETWORK.fullmatch(k)}
        root = self.folder / name
        image = Image(root, base_image(root, self.python), {"PATH": PATH})
        self.stages[name] = image
        return image

    def do_arg(self, image: Image, value: str) -> Image:
        name, _, default = value.partition("=")
        self.build_env[name] = self.arguments.get(name, default)
        return image

    def do_env(self, image: Image, value: str) -> Image:
        env = dict(image.env)
        for pair in shlex.split(value):
            name, _, text = pair.partition("=")
            env[name] = Template(text).substitute(image.env)
        return replace(image, env=env)

    def do_workdir(self, image: Image, value: str) -> Image:
        (image.root / value.lstrip("/")).mkdir(parents=True)
        return replace(image, workdir=value)

    def do_copy(self, image: Image, value: str) -> Image:
        *options, source, target = shlex.split(value)
        destination = image.root / (target if target.startswith("/") else image.workdir)[1:]
        if options:
            [stage] = options
            origin = self.stages[stage.removeprefix("--from=")].root / source.lstrip("/")
            subprocess.run(["cp", "-a", origin, destination], check=True)
        else:
            assert (source, target) == (".", ".")
            for name in build_context(self.context):
                (destination / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.context / name, destination / name)
        return image

    def do_run(self, image: Image, value: str) -> Image:
        log = image.root.with_suffix(".log")
        with log.open("ab") as output:
            process = sandbox.start(
                image.root,
                ["/bin/sh", "-c", value],
                env={**image.env, **self.build_env},
                user=image.user,
                workdir=image.workdir,
                mounts=image.mounts,
                output=output,
            )
            status = process.wait()
        if status:
            sys.stderr.write(log.read_text()[-4000:])
            raise subprocess.CalledProcessError(status, value)
        return image

    def do_user(self, image: Image, value: str) -> Image:
        return replace(image, user=value)

    def do_volume(self, image: Image, value: str) -> Image:
        return replace(image, volumes=(*image.volumes, value))

    def do_expose(self, image: Image, value: str) -> Image:
        return replace(image, ports=(*image.ports, int(value)))

    def do_healthcheck(self, image: Image, value: str) -> Image:
        return replace(image, healthcheck=tuple(json.loads(value[value.index(" CMD ") + 5 :])))

    def do_entrypoint(self, image: Image, value: str) -> Image:
        return replace(image, entrypoint=tuple(json.loads(value)))


def base_image(root: Path, python: Path) -> tuple[Mount, ...]:
    """Create the root file system of the base image. Return its mounts."""
    for name in "dev", "etc", "opt", "proc", "tmp", "usr", "var/cache", str(python)[1:]:
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for name in "bin", "sbin", "lib", "lib64":
        (root / name).symlink_to(f"usr/{name}")
    for name in ETC:
        source, target = Path("/etc", name), root / "etc" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        elif source.exists():
            shutil.copy2(source, target)
    local = root.with_name(f"{root.name}-local")
    (local / "bin").mkdir(parents=True)
    for command in (python / "bin").iterdir():
        (local / "bin" / command.name).symlink_to(command)
    folders = {"/usr": Path("/usr"), "/usr/local": local, str(python): python}
    return tuple(Mount(folder, target, read_only=True) for target, folder in folders.items())
