"""Tests servers on one checkpoint, one after another, and writes a static site of the results:

python -m conformance.third_party OUT [--only NAME …] [--truth conformance|embedded] [--install]

servers.toml describes the servers. A server that is not installed keeps its last result in OUT;
with --install its environment is created first. WORK (--work) gets the log and the full report of
each.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from importlib.metadata import version as package_version
from pathlib import Path

from conformance.third_party import conformance_checkpoint, to_gguf
from conformance.third_party.configuration import (
    KEY,
    Absent,
    Configuration,
    filled,
    locate,
    read,
)
from conformance.third_party.processes import NotStarted, running

ROOT = Path(__file__).parents[2]
PORT = 8360
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
DISTRIBUTION = "completions-spec"
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/-])/(?:home|opt|private|root|tmp|usr|Users|var)(?:/[\w.+@-]+)+/?"
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    servers = read()
    for name in options.only or servers:
        if name not in servers:
            print(f"--only {name}: is not in servers.toml", file=sys.stderr)
            return 2
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(servers):
        if not options.only or name in options.only:
            print(f"{name}: {test(name, servers[name], PORT + index, options)}", flush=True)
    reports = [options.work / f"{name}.json" for name in servers]
    written = [str(path) for path in reports if path.exists()]
    return conformance("site", str(options.out), *written, "--order", *servers)


def test(name: str, server: Configuration, port: int, options: argparse.Namespace) -> str:
    """Test one server, and return what became of it. Its full report is in WORK."""
    work, venvs = options.work, options.venvs.resolve()
    report = work / f"{name}.json"
    report.unlink(missing_ok=True)
    if options.install and server.packages:
        install(venvs / name, server.packages)
    try:
        values = locate(name, server, venvs)
    except Absent as absent:
        return f"skipped, its last result is kept: {absent}"
    values |= {"port": str(port), "work": str(work / "files" / name)}
    values |= checkpoint(options.truth, server.checkpoint, work / "checkpoints")
    about = describe(server, values)
    environment = {**offline(work), **server.environment}
    Path(values["work"]).mkdir(parents=True, exist_ok=True)
    words = [*filled(server.start, values), *([server.key, KEY] if server.key else [])]
    directory = Path(server.directory.format_map(values)) if server.directory else ROOT
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for command in server.prepare:
            subprocess.run(
                filled(command, values), env=os.environ | environment, cwd=ROOT, check=True
            )
        limits = {"environment": environment, "directory": directory, "memory": server.memory}
        with running(words, port, work / f"{name}.log", **limits):  # type: ignore[arg-type]
            status = check(url, server, values["name"], options.truth, about, report)
    except (NotStarted, OSError, subprocess.CalledProcessError) as error:
        about |= {"not run": str(error)}
        status = 2
    if not report.exists():
        reason = "the checks could not run, see the output"
        about = {"not run": reason} | about
        report.write_text(json.dumps(without_results(server.title, url, values["name"], about)))
    redact(report, [work, venvs, ROOT, Path(sys.prefix), Path(sys.base_prefix), Path.home()])
    if "not run" in about:
        return f"not run: {about['not run']}"
    return f"status {status}"


def install(directory: Path, packages: Sequence[str]) -> None:
    """Create an environment with packages, once. `ready` in it shows that it is complete."""
    if (directory / "ready").exists():
        return
    shutil.rmtree(directory, ignore_errors=True)
    venv.create(directory, with_pip=True)
    pip = [str(directory / "bin/python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", *packages], check=True)
    (directory / "ready").touch()


def checkpoint(truth: str, kind: str, directory: Path) -> dict[str, str]:
    """Return the values of {checkpoint}, {folder} and {name}; write the checkpoint if needed."""
    source = directory / truth
    if truth == "conformance" and not source.exists():
        conformance_checkpoint.write(source)
    elif truth == "embedded" and not source.exists():
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ROOT / "reference/embedded/text", source)
    path = source
    if kind == "gguf":
        path = directory / f"{truth}.gguf"
        if not path.exists():
            to_gguf.convert(source, path)
    return {"checkpoint": str(path), "folder": str(directory), "name": truth}


def describe(server: Configuration, values: Mapping[str, str]) -> dict[str, str]:
    """Return what the page says about a server: its version, arithmetic, command and notes."""
    command = filled(server.start, {**values, "python": "python", "suite": "python"})
    about = {
        "version": versions(server, values),
        "arithmetic": server.arithmetic,
        "command": " ".join([Path(command[0]).name, *command[1:]]),
        "memory limit": f"{server.memory:g} GiB per process",
        "note": server.note,
        "skipped": "; ".join(f"{glob}: {reason}" for glob, reason in server.skip.items()),
    }
    return {key: text for key, text in about.items() if text}


def versions(server: Configuration, values: Mapping[str, str]) -> str:
    """Return the versions of a server's packages, or what its command prints."""
    if server.version:
        run = subprocess.run(
            filled(server.version, values), capture_output=True, text=True, timeout=60
        )
        lines = (run.stdout + run.stderr).splitlines()
        return next((line for line in lines if line.startswith("version")), lines[0])
    if server.packages:
        return ", ".join(package.replace("==", " ") for package in server.packages)
    return f"{DISTRIBUTION} {package_version(DISTRIBUTION)}"


def offline(work: Path) -> dict[str, str]:
    """Return an environment in which no server downloads, and each uses the same threads."""
    cache = work / "hugging-face"
    (cache / "hub").mkdir(parents=True, exist_ok=True)  # some servers list it
    threads = dict.fromkeys(THREADS, str(os.cpu_count() or 1))
    return {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "PYTHONPATH": str(ROOT), **threads}


def check(
    url: str,
    server: Configuration,
    model: str,
    truth: str,
    about: Mapping[str, str],
    report: Path,
) -> int:
    """Run the checks on a server, and return the exit status."""
    options = ["--truth", truth, "--name", server.title, "--profile", server.profile]
    options += ["--timeout", "60", "--json", str(report)]
    options += [word for glob in server.skip for word in ("--skip", glob)]
    options += [word for key, text in about.items() for word in ("--about", f"{key}={text}")]
    options += [word for depth in server.depth for word in ("--depth", depth)]
    if server.tolerance is not None:
        options += ["--tolerance", str(server.tolerance)]
    if server.key:
        options += ["--api-key", KEY]
    return conformance("run", url, "--model", model, *options)


def conformance(*arguments: str) -> int:
    command = [sys.executable, "-m", "conformance", *arguments]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode


def without_results(
    title: str, url: str, model: str, about: Mapping[str, str]
) -> dict[str, object]:
    """Return the report of a server that could not be tested."""
    empty: dict[str, object] = {"results": [], "seed": 0, "error_rate": 0.0, "truth": model}
    return {"server": title, "url": url, "model": model, "about": dict(about), **empty}


def redact(report: Path, directories: Sequence[Path]) -> None:
    """Replace directories of this machine in a report: those given, the longest first, then other
    absolute paths, of which up to three names are kept. A path may be cut off anywhere.
    """
    text = report.read_text("utf-8")
    for path in sorted({str(d) for d in directories}, key=len, reverse=True):
        text = text.replace(json.dumps(path)[1:-1], "…")
    text = ABSOLUTE_PATH.sub(shortened_path, text)
    report.write_text(text, "utf-8")


def shortened_path(match: re.Match[str]) -> str:
    names = match[0].split("/")[1:]
    kept = names[-3:] if len(names) > 6 else names[-1:] if len(names) > 4 else []
    return "/".join(["…", *kept])


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conformance.third_party")
    option = parser.add_argument
    option("out", type=Path, metavar="OUT", help="the directory of the site")
    option("--only", nargs="+", metavar="NAME", help="of servers.toml; default: all")
    option("--truth", choices=["conformance", "embedded"], default="conformance")
    option("--venvs", type=Path, default=Path(".venv-servers"), help="an environment per server")
    option("--install", action="store_true", help="create the environments that do not exist")
    option("--work", type=Path, default=Path("build/servers"), help="logs and full reports")
    return parser


if __name__ == "__main__":
    sys.exit(main())
