"""Command line: python -m reference "Once upon a time" --temperature 0.8"""

import argparse
import base64
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from rich.console import Console

from reference import sampler
from reference.bundle import EMBEDDED, Bundle, load_bundle
from reference.completion import stream
from reference.output_text import LogprobsEntry, TextDelta, token_display
from reference.params import CompletionParams
from reference.tables import Explainer, logprob_table

PROG = "python -m reference"
SERVER_ONLY = {"stream", "stream_options", "user", "prompt_cache_key", "data"}


def main(arguments: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Run the command line. Return 0, or 2 after printing a one-line error.

    prog: the command's name in its help.
    """
    options = vars(parser(prog).parse_args(arguments))
    prompt, directory, explain, svg, images = (
        options.pop(name) for name in ("prompt", "model", "explain", "svg", "image")
    )
    console = Console(highlight=False, soft_wrap=True, record=svg is not None)
    try:
        values = {k: as_tuple(v) for k, v in options.items() if v is not None}
        params = CompletionParams(**values, data={"image": [data_uri(path) for path in images]})
        run(load_bundle(directory), prompt, params, console, explain)
        if svg is not None:
            console.save_svg(svg, title=f"{prog} {prompt!r}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(
    model: Bundle, prompt: str, params: CompletionParams, console: Console, explain: bool
) -> None:
    """Print each choice while it is generated, then its finish reason and log-probabilities."""
    sample = (
        Explainer(token_display(model.tokenizer, params), console) if explain else sampler.sample
    )
    entries: list[LogprobsEntry] = []
    text = ""
    for choice, delta in by_choice(stream(model, prompt, params, sample=sample)):
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


def data_uri(path: Path) -> str:
    """Return an image file as a data URI. Decoders ignore the declared format."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def by_choice(deltas: Iterable[tuple[int, TextDelta]]) -> Iterator[tuple[int, TextDelta]]:
    """Reorder deltas so that each choice ends before the next begins.

    With `echo`, the prompt is emitted for all choices before the first token.
    """
    current = 0
    pending: defaultdict[int, list[TextDelta]] = defaultdict(list)
    for choice, delta in deltas:
        pending[choice].append(delta)
        while pending[current]:
            first = pending[current].pop(0)
            yield current, first
            current += first.finish_reason is not None


def as_tuple(value: Any) -> Any:
    """Convert the lists of argparse to the tuples of the parameters."""
    return tuple(value) if isinstance(value, list) else value


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """Return the argument parser: one option for each parameter that is not server-only."""
    result = argparse.ArgumentParser(prog=prog, description=__doc__)
    result.add_argument("prompt")
    result.add_argument("--model", default=EMBEDDED / "text", help="a checkpoint directory")
    result.add_argument(
        "--explain", action="store_true", help="print the distribution after each sampling step"
    )
    result.add_argument("--svg", metavar="FILE", help="save the output as an image")
    result.add_argument(
        "--image", nargs="+", type=Path, default=[], help="image files, one for each `<image>`"
    )
    hints = get_type_hints(CompletionParams)
    for f in fields(CompletionParams):
        if f.name not in SERVER_ONLY:
            result.add_argument("--" + f.name.replace("_", "-"), **option(f, hints[f.name]))
    return result


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError for any other text."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"must be a JSON object, got {value!r}")
    return value


def option(f: Field[Any], hint: Any) -> dict[str, Any]:
    """Return the arguments of `add_argument` for one parameter."""
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
