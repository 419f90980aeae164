"""A completion on the terminal: python -m reference "Once upon a time" --temperature 0.8"""

import argparse
import base64
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from rich.console import Console
from rich.table import Table

from reference import sampler
from reference.bundle import EMBEDDED, Bundle, load_bundle
from reference.completion import stream
from reference.explain import Explainer
from reference.output_text import LogprobsEntry, TextDelta, token_display
from reference.params import CompletionParams

SERVER_ONLY = {"stream", "stream_options", "user", "prompt_cache_key", "data"}


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0, or 2 after one line that says what is wrong with the input."""
    given = vars(parser().parse_args(arguments))
    prompt, directory, explain, svg, images = (
        given.pop(name) for name in ("prompt", "model", "explain", "svg", "image")
    )
    console = Console(highlight=False, soft_wrap=True, record=svg is not None)
    try:
        asked = {k: frozen(v) for k, v in given.items() if v is not None}
        params = CompletionParams(**asked, data={"image": [uri(path) for path in images]})
        run(load_bundle(directory), prompt, params, console, explain)
        if svg is not None:
            console.save_svg(svg, title=f"python -m reference {prompt!r}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(
    model: Bundle, prompt: str, params: CompletionParams, console: Console, explain: bool
) -> None:
    """Print choice after choice as it grows, then its name and, if they are asked for, its
    log-probabilities.
    """
    sample = (
        Explainer(token_display(model.tokenizer, params), console) if explain else sampler.sample
    )
    entries: list[LogprobsEntry] = []
    text = ""
    for choice, delta in in_turn(stream(model, prompt, params, sample=sample)):
        text += delta.text
        entries += delta.entries
        if not explain:
            console.out(delta.text, end="")
        if delta.finish_reason is not None:
            console.out(text if explain else "")
            console.print(f"[dim]choice {choice}: {delta.finish_reason}[/dim]")
            if entries:
                console.print(logprob_table(entries))
            text, entries = "", []


def uri(path: Path) -> str:
    """A picture as a request brings it, whichever of the formats it has."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def in_turn(deltas: Iterable[tuple[int, TextDelta]]) -> Iterator[tuple[int, TextDelta]]:
    """The same, one choice after the other: an echo comes to all of them before the first grows."""
    turn = 0
    waiting: defaultdict[int, list[TextDelta]] = defaultdict(list)
    for choice, delta in deltas:
        waiting[choice].append(delta)
        while waiting[turn]:
            first = waiting[turn].pop(0)
            yield turn, first
            turn += first.finish_reason is not None


def frozen(value: Any) -> Any:
    """argparse makes lists of what the parameters have as tuples."""
    return tuple(value) if isinstance(value, list) else value


def logprob_table(entries: list[LogprobsEntry]) -> Table:
    table = Table("offset", "token", "log-probability", "likeliest")
    for e in entries:
        value = "" if e.logprob is None else f"{e.logprob:.4f}"
        top = ", ".join(f"{ascii(name)} {v:.2f}" for name, v in (e.top or {}).items())
        table.add_row(str(e.offset), ascii(e.token), value, top)
    return table


def parser() -> argparse.ArgumentParser:
    """The command line: an option for each parameter that a terminal has a use for."""
    result = argparse.ArgumentParser(prog="python -m reference", description=__doc__)
    result.add_argument("prompt")
    result.add_argument("--model", default=EMBEDDED / "text", help="a checkpoint directory")
    result.add_argument("--explain", action="store_true", help="show what each step did")
    result.add_argument("--svg", metavar="FILE", help="save what is printed as a picture")
    result.add_argument("--image", nargs="+", type=Path, default=[], help="pictures for `<image>`")
    hints = get_type_hints(CompletionParams)
    for f in fields(CompletionParams):
        if f.name not in SERVER_ONLY:
            result.add_argument("--" + f.name.replace("_", "-"), **option(f, hints[f.name]))
    return result


def json_object(text: str) -> dict[str, Any]:
    """Raises ValueError for what is none."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no object")
    return value


def option(f: Field[Any], hint: Any) -> dict[str, Any]:
    """How argparse reads one parameter."""
    described = {"help": f.metadata["meaning"]}
    kinds = get_args(hint) or (hint,)
    if get_origin(kinds[0]) is Mapping:
        return described | {"type": json_object, "metavar": "JSON"}
    if bool in kinds:
        return described | {"action": "store_true"}
    if isinstance(f.default, tuple):
        return described | {"type": kinds[0], "nargs": "+", "default": ()}
    return described | {"type": kinds[0], "default": f.default}


if __name__ == "__main__":
    sys.exit(main())
