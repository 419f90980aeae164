"""The servers under test, as servers.toml describes them."""

import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conformance.verdicts import Depth

HERE = Path(__file__).parent
FILE = HERE / "servers.toml"
KEY = "a-key-that-is-not-secret"


class Absent(Exception):
    """A server that is not installed. The message says what is missing."""


class Configuration(BaseModel):
    """One table of servers.toml.

    title: its name on the page. packages: of its virtual environment, which has the name of the
    table; the versions on the page are theirs. program: an executable that has to be installed
    instead. version: a command that prints the version. prepare: commands that run before each
    start. start: the command that serves. directory: in which it runs. key: its option for an API
    key. memory: the limit of private memory of each of its processes, in GiB. checkpoint: hf or
    gguf. profile, depth: the checks. tolerance: of log-probabilities, for a server that does not
    report any. skip: globs of checks that make it hang or crash, with the reason. note: what is
    unusual.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(min_length=1)
    packages: tuple[str, ...] = ()
    program: str | None = None
    version: tuple[str, ...] = ()
    prepare: tuple[tuple[str, ...], ...] = ()
    start: tuple[str, ...] = Field(min_length=1)
    directory: str | None = None
    key: str | None = None
    environment: Mapping[str, str] = {}
    memory: float = Field(gt=0)
    arithmetic: str = "float32"
    checkpoint: str = Field("hf", pattern="^(hf|gguf)$")
    profile: str = "full"
    depth: tuple[Depth, ...] = ()
    tolerance: float | None = None
    skip: Mapping[str, str] = {}
    note: str = ""


def read(path: Path = FILE) -> dict[str, Configuration]:
    """Read the servers. Raises ValueError, which names the server and the key, for a wrong file."""
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        return {name: Configuration.model_validate(table) for name, table in tables.items()}
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ValueError(f"{path.name}: {error.title}: {'; '.join(problems)}") from error
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path.name}: {error}") from error


def locate(name: str, server: Configuration, venvs: Path) -> dict[str, str]:
    """Return the values of {python}, {bin}, {suite} and {program} in commands.

    Raises Absent if the environment or the program does not exist.
    """
    values = {"suite": sys.executable, "python": sys.executable}
    if server.packages:
        python = venvs / name / "bin/python"
        if not (venvs / name / "ready").exists():
            raise Absent(f"has no environment {venvs.name}/{name}: run with --install")
        values |= {"python": str(python), "bin": str(python.parent)}
    if server.program:
        own = venvs / name / "bin" / server.program
        program = own if own.exists() else shutil.which(server.program)
        if program is None:
            raise Absent(f"{server.program} is neither in {venvs.name}/{name}/bin nor in PATH")
        values["program"] = str(program)
    return values


def filled(words: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """Return a command with its placeholders filled in."""
    return [word.format_map(values) for word in words]
