"""A backend's tokens as text: what a client reads, through the same rooms as the reference's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from conformance.parity.harness.agreement import alike, following
from conformance.parity.harness.backends import Backend
from conformance.parity.harness.property import OfModel, Tally
from conformance.parity.harness.requests import Answer, Asked, asked, collect
from conformance.parity.harness.tolerance import LOGIT
from reference.bundle import Bundle
from reference.completion import Completion, complete, stream
from reference.grammar.response_format import compile_format
from reference.output_text import LogprobsEntry, TextDelta, echo, prompt_text, start_choice
from reference.params import CompletionParams
from reference.prompt import prompt_ids
from reference.request import Request

Choices = list[list[TextDelta]]


@dataclass(frozen=True)
class Written:
    """A request as a client writes it: the prompt is text, or ids."""

    prompt: str | list[int]
    params: dict[str, Any]


def streamed(backend: Backend, written: Written, tally: Tally) -> None:
    """Every delta of every choice is the reference's: text, rows of log-probabilities, reasons."""
    asked, request, answer = answered(backend, written)
    mine = deltas(backend.model, written.prompt, request, answer)
    theirs: Choices = [[] for _ in mine]
    sample = following(request, answer, tally)
    for choice, delta in stream(backend.model, written.prompt, asked, sample=sample):
        theirs[choice].append(delta)
    for one, other in zip(mine, theirs, strict=True):
        assert len(one) == len(other), f"{one}, and not {other}"
        for a, b in zip(one, other, strict=True):
            check_alike(a, b, asked)
    tally.counts["tokens"] += sum(map(len, mine))
    tally.counts["stop strings found"] += sum(isinstance(ds[-1].stop_reason, str) for ds in mine)


def whole(backend: Backend, written: Written, tally: Tally) -> None:
    """What is streamed, joined, is the reference's whole completion."""
    asked, request, answer = answered(backend, written)
    found = [joined(ds) for ds in deltas(backend.model, written.prompt, request, answer)]
    tally.counts["completions"] += len(found)
    expected = complete(backend.model, written.prompt, asked)
    for one, other in zip(found, expected, strict=True):
        if stripped(one) != stripped(other):
            break
        check_rows(one.entries, other.entries, asked)
    else:
        return
    # Other words: right only if a token was a near decision, which this raises an error for if not.
    before = tally.other
    streamed(backend, written, tally)
    assert tally.other > before, f"{found}, and not {expected}"


def answered(backend: Backend, written: Written) -> tuple[CompletionParams, Request, Answer]:
    """What is asked, and what the backend's engine makes of it."""
    model, asked = backend.model, CompletionParams(**written.params)
    ids = prompt_ids(model.tokenizer, written.prompt, model.vocab_size, model.context)
    request = Request.of(ids, asked, language=compile_format(asked.response_format))
    [answer] = collect(backend.roomy, [request])
    assert answer.error is None, answer.error
    return asked, request, answer


def deltas(model: Bundle, prompt: str | Sequence[int], request: Request, answer: Answer) -> Choices:
    """What each choice of an answer grows by, token by token, until it ends. An engine that nobody
    tells of a stop string goes on; nobody reads that.
    """
    words, params, ids = model.tokenizer, request.params, request.prompt
    text = prompt_text(words, prompt)
    reports = answer.prompt.prompt_logprobs if answer.prompt else None
    found: Choices = []
    for tokens in answer.choices:
        growing = start_choice(words, params, ids, text)
        found.append([echo(words, params, ids, text, reports)] if params.echo else [])
        for token in tokens:
            if not growing.finished:
                found[-1].append(growing.push(token))
    return found


def joined(parts: Sequence[TextDelta]) -> Completion:
    return Completion(
        "".join(part.text for part in parts),
        tuple(entry for part in parts for entry in part.entries),
        str(parts[-1].finish_reason),
        parts[-1].stop_reason,
    )


def stripped(completion: Completion) -> Completion:
    """All but the numbers."""
    entries = tuple(LogprobsEntry(e.token, None, None, e.offset) for e in completion.entries)
    return replace(completion, entries=entries)


def check_alike(a: TextDelta, b: TextDelta, asked: CompletionParams) -> None:
    """Raises AssertionError unless two deltas are the same but for the tolerance of numbers."""
    assert replace(a, entries=()) == replace(b, entries=()), f"{a}, and not {b}"
    check_rows(a.entries, b.entries, asked)


def check_rows(
    a: Sequence[LogprobsEntry], b: Sequence[LogprobsEntry], asked: CompletionParams
) -> None:
    assert len(a) == len(b), f"{a}, and not {b}"
    for one, other in zip(a, b, strict=True):
        assert (one.token, one.offset) == (other.token, other.offset), f"{one}, and not {other}"
        if one.logprob is None or other.logprob is None:
            assert one == other, f"{one}, and not {other}"
            continue
        assert abs(one.logprob - other.logprob) <= LOGIT, f"{one}, and not {other}"
        same_top = alike(one.top or {}, other.top or {}, asked.logprobs or 0)
        assert same_top, f"{one}, and not {other}"


WORDS = ["Once upon a time", "The dog", "1. drum\n2.", "“Zoë” 👩‍👩‍👧", " ", "</s>", "a"]
STOPS = [" ", "e", "\n", ". ", "the", " a", "ed ", "He ", "“", "zzz"]


def any_text(backend: Backend) -> st.SearchStrategy[Written]:
    """As `asked`, with a text for a prompt as a rule, and with what only concerns text."""
    plain = asked(backend.model.vocab_size, 40, 16)
    letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    texts = st.builds(str.__add__, st.sampled_from(WORDS), letters)
    of_text = st.fixed_dictionaries(
        {},
        optional={
            "stop": st.lists(st.sampled_from(STOPS) | letters.filter(bool), max_size=4).map(tuple),
            "return_tokens_as_token_ids": st.booleans(),
            "echo": st.booleans(),
        },
    )

    def written(text: str | None, one: Asked, more: dict[str, Any]) -> Written:
        return Written(one.prompt if text is None else text, one.params | more)

    return st.builds(written, texts | st.none(), plain, of_text)


PROPERTIES = (
    OfModel("text/streamed", any_text, streamed, reads_text=True),
    OfModel("text/whole", any_text, whole, reads_text=True),
)
