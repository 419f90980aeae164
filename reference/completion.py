"""One completion, from a prompt to text: the reference engine and the text of its choices."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reference import sampler
from reference.bundle import Bundle
from reference.generate import Sampler, generate
from reference.grammar.response_format import compile_format
from reference.images.placement import expand_placeholders
from reference.input_limits import reject_oversized_text
from reference.output_text import LogprobsEntry, TextDelta, echo, prompt_text, start_choice
from reference.params import CompletionParams
from reference.prefix_cache import PrefixCache
from reference.prompt import prompt_ids
from reference.request import PromptProcessed, Request, TokenGenerated
from reference.stopping import resolve_stop_strings


@dataclass(frozen=True)
class Completion:
    """One finished choice."""

    text: str
    entries: tuple[LogprobsEntry, ...]
    finish_reason: str
    stop_reason: str | int | None


def stream(
    model: Bundle,
    prompt: str | Sequence[int],
    params: CompletionParams,
    prefix_cache: PrefixCache | None = None,
    sample: Sampler = sampler.sample,
) -> Iterator[tuple[int, TextDelta]]:
    """Yield (choice, delta) as tokens are generated. With `echo`, the prompt is the first delta.

    Raises ValueError for a prompt that is empty, too long or has ids outside the vocabulary, and
    for rejected images; UnsupportedFormat for a response_format that cannot be enforced.
    """
    language = compile_format(params.response_format)
    reject_oversized_text(model.tokenizer, prompt, model.context)
    sent_ids = prompt_ids(model.tokenizer, prompt, model.vocab_size, model.context)
    [(ids, images)] = expand_placeholders(
        [sent_ids], params.data, model.image_processor, model.context
    )
    text = prompt_text(model.tokenizer, prompt)
    choices = [start_choice(model.tokenizer, params, ids, text) for _ in range(params.n)]
    finished: set[int | None] = set()
    engine_params = resolve_stop_strings(params, model.vocabulary)
    request = Request.of(ids, engine_params, language=language, images=images)
    # The engine does not see the text: a choice that ends at a stop string is aborted.
    for event in generate(model, request, prefix_cache, finished.__contains__, sample):
        match event:
            case PromptProcessed(prompt_logprobs=prompt_logprobs) if params.echo:
                echoed = echo(model.tokenizer, params, ids, text, prompt_logprobs, images)
                yield from ((i, echoed) for i in range(params.n))
            case TokenGenerated(choice=choice):
                delta = choices[choice].push(event)
                if delta.finish_reason is not None:
                    finished.add(choice)
                yield choice, delta


def complete(
    model: Bundle,
    prompt: str | Sequence[int],
    params: CompletionParams,
    prefix_cache: PrefixCache | None = None,
) -> list[Completion]:
    """Return the choices of one request: the deltas of `stream`, joined."""
    deltas: list[list[TextDelta]] = [[] for _ in range(params.n)]
    for choice, delta in stream(model, prompt, params, prefix_cache):
        deltas[choice].append(delta)
    return [
        Completion(
            "".join(delta.text for delta in choice_deltas),
            tuple(entry for delta in choice_deltas for entry in delta.entries),
            str(choice_deltas[-1].finish_reason),
            choice_deltas[-1].stop_reason,
        )
        for choice_deltas in deltas
    ]
