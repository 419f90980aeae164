"""A whole completion, from a prompt to text: the reference engine and the text of its choices, put
together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reference import sampler
from reference.bundle import Bundle
from reference.generate import Sampler, generate
from reference.grammar.response_format import compile_format
from reference.images.placement import expand_placeholders
from reference.output_text import LogprobsEntry, TextDelta, echo, prompt_text, start_choice
from reference.params import CompletionParams
from reference.prefix_cache import PrefixCache
from reference.prompt import prompt_ids
from reference.request import PromptProcessed, Request, TokenGenerated


@dataclass(frozen=True)
class Completion:
    """One choice, whole."""

    text: str
    entries: tuple[LogprobsEntry, ...]
    finish_reason: str
    stop_reason: str | int | None


def stream(
    model: Bundle,
    prompt: str | Sequence[int],
    params: CompletionParams,
    prefixes: PrefixCache | None = None,
    sample: Sampler = sampler.sample,
) -> Iterator[tuple[int, TextDelta]]:
    """(choice, what it grows by), as it grows. With `echo`, the prompt comes first.

    Raises ValueError for a prompt that is empty, too long or has ids out of the vocabulary, for
    images that cannot be taken, and UnsupportedFormat.
    """
    language = compile_format(params.response_format)
    as_sent = prompt_ids(model.tokenizer, prompt, model.vocab_size, model.context)
    [(ids, images)] = expand_placeholders([as_sent], params.data, model.sight, model.context)
    text = prompt_text(model.tokenizer, prompt)
    choices = [start_choice(model.tokenizer, params, ids, text) for _ in range(params.n)]
    ended: set[int | None] = set()
    request = Request.of(ids, params, language=language, images=images)
    for event in generate(model, request, prefixes, ended.__contains__, sample):
        match event:
            case PromptProcessed(prompt_logprobs=reports) if params.echo:
                prompt_delta = echo(model.tokenizer, params, ids, text, reports, images)
                yield from ((i, prompt_delta) for i in range(params.n))
            case TokenGenerated(choice=choice):
                delta = choices[choice].push(event)
                if delta.finish_reason is not None:
                    ended.add(choice)
                yield choice, delta


def complete(
    model: Bundle,
    prompt: str | Sequence[int],
    params: CompletionParams,
    prefixes: PrefixCache | None = None,
) -> list[Completion]:
    """The choices of one request: `stream`, joined."""
    deltas: list[list[TextDelta]] = [[] for _ in range(params.n)]
    for choice, delta in stream(model, prompt, params, prefixes):
        deltas[choice].append(delta)
    return [
        Completion(
            "".join(d.text for d in ds),
            tuple(e for d in ds for e in d.entries),
            str(ds[-1].finish_reason),
            ds[-1].stop_reason,
        )
        for ds in deltas
    ]
