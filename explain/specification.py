"""The steps of the sampler as data for the page: parameters, docstring, source, decisions."""

import inspect
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference import logits, sampler, threefry
from reference.grammar.token_mask import GrammarMatcher

Json = dict[str, Any]

HERE = Path(__file__).resolve().parent
LINE = re.compile(r"^(Meaning|Boundary|Ties|Off value|Source|Example):\s*", re.M)


@dataclass(frozen=True)
class Described:
    """A step or the draw. functions: those that define it. decisions: numbers of the records."""

    name: str
    functions: tuple[Any, ...]
    decisions: tuple[int, ...]


DESCRIBED = (
    Described("response_format", (logits.mask, GrammarMatcher.allowed), (9, 16)),
    Described("repetition_penalty", (logits.repetition_penalty,), (1, 3)),
    Described("frequency_penalty", (logits.frequency_penalty,), (1, 3)),
    Described("presence_penalty", (logits.presence_penalty,), (1, 3)),
    Described("temperature", (logits.temperature,), (1,)),
    Described("min_p", (logits.min_p,), (1, 2)),
    Described("top_k", (logits.top_k,), (1, 2, 13)),
    Described("top_p", (logits.top_p, logits.probabilities), (1, 2, 13)),
    Described("draw", (sampler.gumbel_argmax, threefry.draw_key, threefry.gumbel), (5,)),
)


def specification() -> Json:
    """Return the steps in their order, then the draw, and the decision records by number."""
    numbers = sorted({number for step in DESCRIBED for number in step.decisions})
    return {
        "steps": [step_json(step) for step in DESCRIBED],
        "decisions": {number: decision(number) for number in numbers},
    }


def step_json(step: Described) -> Json:
    docstring = inspect.getdoc(step.functions[0]) or ""
    return {
        "name": step.name,
        "summary": docstring.partition("\n")[0],
        "lines": docstring_lines(docstring),
        "sources": [source_json(function) for function in step.functions],
        "decisions": list(step.decisions),
    }


def docstring_lines(docstring: str) -> list[Json]:
    """Return the lines of a docstring: Meaning, Boundary, Ties, Off value, Source, Example."""
    parts = LINE.split(docstring)[1:]
    return [
        {"label": label, "text": inspect.cleandoc(text).rstrip()}
        for label, text in zip(parts[::2], parts[1::2], strict=True)
    ]


def source_json(function: Any) -> Json:
    """Return the source code of a function without its docstring, and where it is."""
    lines, start = inspect.getsourcelines(function)
    source = textwrap.dedent("".join(lines)).rstrip()
    if docstring := function.__doc__:
        source = source.replace(f'"""{docstring}"""', '"""…"""')
        source = re.sub(r'"""(?:[^"]|"(?!""))*"""', '"""…"""', source, count=1)
    path = f"{function.__module__.replace('.', '/')}.py"
    return {"name": function.__qualname__, "path": path, "line": start, "text": source}


def decision(number: int) -> Json:
    """Return a decision record: its title, and its text in Markdown. An installed copy has the
    records next to this file, a clone in docs/.
    """
    installed = HERE / "decisions"
    folder = installed if installed.is_dir() else HERE.parent / "docs" / "decisions"
    [path] = folder.glob(f"{number:04d}-*.md")
    title, _, text = path.read_text("utf-8").partition("\n")
    return {"title": title.lstrip("# "), "text": text.strip()}
