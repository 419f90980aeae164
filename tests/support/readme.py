"""The README's table of parameters, generated from the specification. Run it to print the table."""

from dataclasses import Field, fields
from typing import Any

from reference.params import CompletionParams

SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
POWERS = {2**64: "2⁶⁴", -(2**63): "−2⁶³"}


def table() -> list[str]:
    """Return the lines of the table."""
    head = ["| parameter | default | range | meaning | defined in |", "|---|---|---|---|---|"]
    return head + [row(f) for f in fields(CompletionParams)]


def row(f: Field[Any]) -> str:
    """Format one parameter."""
    module, _, name = f.metadata["spec"].rpartition(".")
    link = f"[`{module}.{name}`](reference/{module.replace('.', '/')}.py)"
    return f"| `{f.name}` | {default(f)} | {limits(f)} | {f.metadata['meaning']} | {link} |"


def default(f: Field[Any]) -> str:
    """Format a parameter's default as JSON."""
    if f.default in (None, ()):
        return "null"
    return str(f.default).lower() if isinstance(f.default, bool) else f"{f.default:g}"


def limits(f: Field[Any]) -> str:
    """Format a parameter's range."""
    bounds = dict(f.metadata["bounds"])
    max_length = bounds.pop("max_length", None)
    parts = [f"{SIGNS[k]} {POWERS.get(v, f'{v:,}')}" for k, v in bounds.items()]
    return ", ".join(parts + ([f"at most {max_length}"] if max_length else []))


if __name__ == "__main__":
    print("\n".join(table()))
