"""logprobs, broken."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from starlette.types import ASGIApp

from api.app import create_app
from reference import logits as l
from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.logits import Logits
from reference.logprobs import log_softmax, token_logprobs
from reference.request import Event, Request, TokenGenerated, TokenLogprobs
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Delivering,
    Json,
    Telling,
    answering,
    asking,
    each_choice,
    forgiving,
    params,
    rewriting,
    served,
    sometimes,
    whole,
)

# Given all log-probabilities, the parameters as they were asked for, and the tokens up to this one.
Remake = Callable[[Logits, Any, list[int]], TokenLogprobs]


def reporting(model: Bundle, remake: Remake) -> ASGIApp:
    """What is reported of a token is made anew."""

    def asked(request: Request) -> Request:
        top = request.params.logprobs
        return params(request, logprobs=None if top is None else model.vocab_size)

    class Anew(Telling):
        def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
            outputs: dict[int, list[int]] = {}

            def change(_: Request, event: Event) -> Event:
                if not isinstance(event, TokenGenerated) or event.logprobs is None:
                    return event
                output = outputs.setdefault(event.choice, [])
                output.append(event.token)
                values = np.array([v for _, v in sorted(event.logprobs.top)], np.float32)
                return replace(event, logprobs=remake(values, request.params, output))

            return Delivering(self.engine, change).submit(self.change(request), on_event)

    return create_app([served(model, Anew(ReferenceEngine(model), asked))])


def of(values: Logits, asked: Any, output: list[int]) -> TokenLogprobs:
    return token_logprobs(values, output[-1], asked.logprobs)


@mutant("logprobs/out-of-range-is-refused")
def clamped(model: Bundle) -> ASGIApp:
    """A number out of range is dropped."""
    return forgiving(whole(model), "logprobs", lambda v: not isinstance(v, int) or 0 <= v <= 20)


@mutant("logprobs/wrong-type-is-refused")
def any_type(model: Bundle) -> ASGIApp:
    """What is no integer is dropped."""
    return forgiving(whole(model), "logprobs", lambda v: v is None or type(v) is int)


@mutant("logprobs/null-is-off")
def always_on(model: Bundle) -> ASGIApp:
    """Null is 0."""
    return asking(whole(model), lambda b: b | {"logprobs": b.get("logprobs") or 0})


@mutant("logprobs/zero-reports-the-chosen-token")
def zero_is_off(model: Bundle) -> ASGIApp:
    """0 is null."""
    return asking(whole(model), lambda b: b | {"logprobs": b.get("logprobs") or None})


@mutant("logprobs/up-to-twenty-are-given")
def at_most_five(model: Bundle) -> ASGIApp:
    """More than 5 are not given."""

    def five(body: Json) -> Json:
        return body | ({"logprobs": min(body["logprobs"], 5)} if body.get("logprobs") else {})

    return asking(whole(model), five)


def each_row(change: Callable[[Json], None]) -> Callable[[Json], Json]:
    """Of choices that have logprobs."""
    return each_choice(lambda choice: change(choice["logprobs"]) if choice["logprobs"] else None)


@mutant("logprobs/has-a-row-for-each-token")
def last_row_missing(model: Bundle) -> ASGIApp:
    """The last token has no row."""
    return answering(
        whole(model), each_row(lambda rows: [column.pop() for column in rows.values()])
    )


@mutant("logprobs/lists-the-likeliest-and-the-chosen")
def chosen_left_out(model: Bundle) -> ASGIApp:
    """Only the N likeliest are listed."""

    def remake(values: Logits, asked: Any, output: list[int]) -> TokenLogprobs:
        found = of(values, asked, output)
        return replace(found, top=found.top[: asked.logprobs])

    return reporting(model, remake)


@mutant("logprobs/lists-the-likeliest-and-the-chosen")
def always_as_many(model: Bundle) -> ASGIApp:
    """A chosen token that is not likely takes the place of the N-th."""

    def remake(values: Logits, asked: Any, output: list[int]) -> TokenLogprobs:
        found, n = of(values, asked, output), asked.logprobs
        return replace(found, top=(*found.top[: n - 1], found.top[-1]) if n else found.top)

    return reporting(model, remake)


@mutant("logprobs/lists-the-likeliest-and-the-chosen")
def one_too_few(model: Bundle) -> ASGIApp:
    """One less is listed than was asked for."""

    def remake(values: Logits, asked: Any, output: list[int]) -> TokenLogprobs:
        return token_logprobs(values, output[-1], max(0, asked.logprobs - 1))

    return reporting(model, remake)


@mutant("logprobs/the-chosen-token-has-one-value")
def rounded(model: Bundle) -> ASGIApp:
    """`token_logprobs` has four digits."""

    def change(rows: Json) -> None:
        rows["token_logprobs"] = [round(v, 4) for v in rows["token_logprobs"]]

    return answering(whole(model), each_row(change))


@mutant("logprobs/values-are-logarithms-of-probabilities", "logprobs/are-the-models")
def scores(model: Bundle) -> ASGIApp:
    """Logits are reported."""

    def remake(values: Logits, asked: Any, output: list[int]) -> TokenLogprobs:
        found = of(values, asked, output)
        top = tuple((token, value + 3) for token, value in found.top)
        return replace(found, logprob=found.logprob + 3, top=top)

    return reporting(model, remake)


@mutant("logprobs/no-value-is-infinite")
def infinite(model: Bundle) -> ASGIApp:
    """What was cut off is written -Infinity."""
    return rewriting(after_truncation(model), lambda text, _: text.replace("-9999.0", "-Infinity"))


@mutant("logprobs/the-greedy-token-is-the-likeliest", "logprobs/are-the-models")
def of_the_row_before(model: Bundle) -> ASGIApp:
    """A row has the probabilities of the row before it."""
    before: list[Logits] = []

    def remake(values: Logits, asked: Any, output: list[int]) -> TokenLogprobs:
        before.append(values)
        return of(before[-2] if len(output) > 1 else values, asked, output)

    return reporting(model, remake)


@mutant("logprobs/the-likeliest-come-first")
def by_name(model: Bundle) -> ASGIApp:
    """`top_logprobs` is sorted by name."""

    def change(rows: Json) -> None:
        rows["top_logprobs"] = [dict(sorted(top.items())) for top in rows["top_logprobs"]]

    return answering(whole(model), each_row(change))


@mutant("logprobs/do-not-depend-on-temperature", "logprobs/are-the-models")
def after_temperature(model: Bundle) -> ASGIApp:
    """Log-probabilities are those at the temperature of the request."""

    def remake(values: Logits, asked: Any, output: list[int]) -> TokenLogprobs:
        scale = asked.temperature or 1.0
        return of(log_softmax(l.temperature(values, scale)), asked, output)

    return reporting(model, remake)


@mutant("logprobs/do-not-depend-on-penalties", "logprobs/are-those-before-penalties")
def after_penalties(model: Bundle) -> ASGIApp:
    """Log-probabilities are those after the penalties of the output."""

    def remake(values: Logits, asked: Any, output: list[int]) -> TokenLogprobs:
        counts = np.bincount(output[:-1], minlength=len(values))
        values = l.frequency_penalty(values, counts, asked.frequency_penalty)
        values = l.presence_penalty(values, counts, asked.presence_penalty)
        return of(log_softmax(values), asked, output)

    return reporting(model, remake)


@mutant("logprobs/do-not-depend-on-truncation")
def after_truncation(model: Bundle) -> ASGIApp:
    """Log-probabilities are those of the tokens that were kept."""

    def remake(values: Logits, asked: Any, output: list[int]) -> TokenLogprobs:
        kept = l.top_p(l.top_k(l.temperature(values, 1.0), asked.top_k), asked.top_p)
        return of(log_softmax(kept), asked, output)

    return reporting(model, remake)


@mutant("logprobs/offsets-count-characters")
def from_the_prompt(model: Bundle) -> ASGIApp:
    """Offsets count the prompt, which is not in the text."""

    def change(rows: Json) -> None:
        rows["text_offset"] = [offset + 16 for offset in rows["text_offset"]]

    return answering(whole(model), each_row(change))


@mutant("logprobs/tokens-are-called-by-their-text")
def vocabulary_names(model: Bundle) -> ASGIApp:
    """Tokens are called as in the vocabulary: a space is ▁."""

    def change(rows: Json) -> None:
        rows["tokens"] = [name.replace(" ", "▁") for name in rows["tokens"]]

    return answering(whole(model), each_row(change))


@mutant("logprobs/no-name-takes-anothers-place")
def overwritten(model: Bundle) -> ASGIApp:
    """Of two tokens with one text the less likely is lost."""

    def change(rows: Json) -> None:
        rows["top_logprobs"] = [
            {n: v for n, v in top.items() if not n.startswith("token_id:")}
            for top in rows["top_logprobs"]
        ]

    broken = answering(whole(model), each_row(change))
    return sometimes(model, lambda body: not body.get("return_tokens_as_token_ids"), broken)
