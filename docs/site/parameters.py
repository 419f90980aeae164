"""A page for each parameter: its definition and the code of it, what it does to a distribution,
the decisions behind it, the checks of it, its test vectors, and how engines and servers differ.
"""

import importlib
import inspect
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path

from conformance.harness.registry import all_checks
from docs.site.chart import CHARTS, DRAWS
from docs.site.lessons import at_work
from docs.site.vectors import ENGINES as ENGINE_RESULTS
from docs.site.vectors import read_families, read_results, vectors_section
from reference.params import CompletionParams
from tests.support.coverage import CONTRACT, COVERED, SPEC
from tests.support.parameters import decision, link, parity, port
from tests.support.readme import default, limits

FIELDS = {f.name: f for f in fields(CompletionParams)}
LINE = re.compile(r"^([A-Z][a-z]+(?: [a-z]+)?):\s+(.*(?:\n[ \t]+.*)*)", re.MULTILINE)
# The results of servers, and the checkpoint that they served.
SERVERS = {"docs/conformance/servers-checks.md": "conformance checkpoint"}
DISTRIBUTION = """## Distribution

![Probabilities before and after the step, for several values]({name}.svg)

Eight tokens of an invented distribution, in the order of their probabilities.
"""
DRAW = """## Draw

![Final logit and score of each token, for several values]({name}.svg)

Eight tokens of an invented distribution. The gray mark is the final logit, a colored one the score,
which is the logit plus noise. The best score, which is filled, wins.
"""


def parameter_pages(root: Path) -> dict[Path, str]:
    """Return the text of each page, by its path relative to the root."""
    families = read_families(root)
    results = read_results((root / ENGINE_RESULTS).read_text("utf-8"))
    servers = {title: sections((root / path).read_text("utf-8")) for path, title in SERVERS.items()}
    pages = {
        Path(f"parameters/{name}.md"): page(
            name, vectors_section(name, families, results), servers_section(name, servers)
        )
        for name in CONTRACT
    }
    names = "\n".join(CONTRACT)
    pages[Path("parameters/index.md")] = (
        "# Each parameter\n\nIts definition, and everything that belongs to it.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"
    )
    return pages


def page(name: str, vectors: str, servers: str) -> str:
    """Return the page of one parameter. vectors, servers: their sections, as Markdown."""
    parts = [f"# `{name}`", summary(FIELDS.get(name)), at_work(name), definition(SPEC[name])]
    if name in CHARTS:
        parts.append(DISTRIBUTION.format(name=name))
    if name in DRAWS:
        parts.append(DRAW.format(name=name))
    parts += [places(name), checks(name), vectors, servers]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def servers_section(name: str, servers: dict[str, dict[str, str]]) -> str:
    """Return the verdicts of the parameter's checks on several servers, for each checkpoint."""
    head = (
        "## Servers\n\nHow servers differ: [in words](../docs/conformance/servers.md), and "
        "check by check ([the verdicts](../docs/conformance/README.md))."
    )
    return "\n\n".join(
        [head, *(f"### {title.capitalize()}\n\n{s[name]}" for title, s in servers.items())]
    )


def summary(f: Field[object] | None) -> str:
    """Return meaning, default and range."""
    if f is None:
        return ""
    value = "" if f.default is MISSING else f"**Default:** {default(f)}. "
    bounds = f"**Range:** {limits(f)}." if limits(f) else ""
    return f"{f.metadata['meaning'][0].upper()}{f.metadata['meaning'][1:]}.\n\n{value}{bounds}"


def definition(spec: str) -> str:
    """Return the docstring and the source of the defining function or class."""
    module, _, name = spec.rpartition(".")
    target = getattr(importlib.import_module(f"reference.{module}"), name)
    doc = inspect.getdoc(target) or ""
    source = inspect.getsource(target).rstrip()
    head = f"## Definition\n\n{link('reference', spec)}\n\n{docstring(doc)}"
    return f"{head}\n\n### Code\n\n````python\n{source}\n````"


def docstring(doc: str) -> str:
    """Return a docstring as Markdown: its lines, such as *Ties*, as a definition list."""
    summary, _, rest = doc.partition("\n\n")
    parts = [summary, LINE.split(rest)[0].strip()]
    for match in LINE.finditer(rest):
        text, _, example = match[2].partition(">>>")
        body = re.sub(r"^(\d+)\.", r"\1\\.", " ".join(text.split()))  # not a list
        parts.append(f"**{match[1]}**\n: {body}")
        if example:
            lines = "\n".join(line.strip() for line in f">>>{example}".splitlines())
            parts.append(f"```pycon\n{lines.rstrip()}\n```")
    return "\n\n".join(part for part in parts if part)


def places(name: str) -> str:
    """Return where the parameter is ported and compared, and the decisions about it."""
    covered = COVERED[name]
    decisions = ", ".join(
        decision(number).replace("](", "](../docs/") for number in covered.decisions
    )
    lines = [f"- Port: {port(name)}", f"- Parity: {parity(covered.parity)}"]
    return "\n".join(["## Places", "", *lines, f"- Decisions: {decisions or 'none'}"])


def checks(name: str) -> str:
    """Return the black-box checks of any server."""
    own = [check for check in all_checks() if check.parameter == name]
    rows = [f"| `{check.id}` | {one_line(check.clause)} |" for check in own]
    head = "`python -m conformance explain ID` shows the clause and the code of a check."
    return "\n".join(["## Checks", "", head, "", "| check | clause |", "|---|---|", *rows])


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def sections(text: str) -> dict[str, str]:
    """Return the text below each heading of the second level."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {
        name.replace("\\", ""): body.strip()
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }
