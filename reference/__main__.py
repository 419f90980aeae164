"""Command line: python -m reference "Once upon a time" --temperature 0.8"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console

from reference import sampler
from reference.bundle import Bundle, load_bundle
from reference.completion import stream
from reference.output_text import LogprobsEntry, TextDelta, token_display
from reference.params import CompletionParams
from reference.terminal.arguments import PROG, as_tuple, data_uri, parser
from reference.terminal.tables import Explainer, logprob_table


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


if __name__ == "__main__":
    sys.exit(main())
