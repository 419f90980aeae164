"""Mutants of the checks of logprobs."""

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
from tests.conformance.mutations.engine import (
    EventMutatingEngine,
    Json,
    RequestMutatingEngine,
    conforming_app,
    served_model,
    with_params,
)
from tests.conformance.mutations.requests import broken_when, drop_field_unless, mutate_body
from tests.conformance.mutations.responses import each_choice, mutate_json, mutate_text

# From all log-probabilities, the parameters of the request, and the tokens up to this one.
Remake = Callable[[Logits, Any, list[int]], TokenLogprobs]


def with_logprobs(model: Bundle, remake: Remake) -> ASGIApp:
    """Report what `remake` makes of all log-probabilities of a step."""

    def request_all(request: Request) -> Request:
        top = request.params.logprobs
        return with_params(request, logprobs=None if top is None else model.vocab_size)

    class Remaking(RequestMutatingEngine):
        def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
            outputs: dict[int, list[int]] = {}

            def change(_: Request, event: Event) -> Event:
                if not isinstance(event, TokenGenerated) or event.logprobs is None:
                    return event
                output = outputs.setdefault(event.choice, [])
                output.append(event.token)
                values = np.array([v for _, v in sorted(event.logprobs.top)], np.float32)
                return replace(event, logprobs=remake(values, request.params, output))

            return EventMutatingEngine(self.engine, change).submit(self.change(request), on_event)

    return create_app([served_model(model, Remaking(ReferenceEngine(model), request_all))])


def entry(values: Logits, requested: Any, output: list[int]) -> TokenLogprobs:
    """Return the entry of the last token."""
    return token_logprobs(values, output[-1], requested.logprobs)


@mutant("logprobs/above-server-limit", "logprobs/range")
def above_limit_dropped(model: Bundle) -> ASGIApp:
    """Drop a number out of range."""
    return drop_field_unless(
        conforming_app(model), "logprobs", lambda v: not isinstance(v, int) or 0 <= v <= 20
    )


@mutant("logprobs/off-by-default")
def null_as_zero(model: Bundle) -> ASGIApp:
    """Treat null as 0."""
    return mutate_body(conforming_app(model), lambda b: b | {"logprobs": b.get("logprobs") or 0})


@mutant("logprobs/zero-lists-chosen-token")
def zero_as_null(model: Bundle) -> ASGIApp:
    """Treat 0 as null."""
    return mutate_body(conforming_app(model), lambda b: b | {"logprobs": b.get("logprobs") or None})


@mutant("logprobs/twenty-available")
def at_most_five(model: Bundle) -> ASGIApp:
    """Return at most 5 log-probabilities."""

    def five(body: Json) -> Json:
        return body | ({"logprobs": min(body["logprobs"], 5)} if body.get("logprobs") else {})

    return mutate_body(conforming_app(model), five)


def each_entry_list(change: Callable[[Json], None]) -> Callable[[Json], Json]:
    """Return a change of an answer from a change of the logprobs of a choice."""
    return each_choice(lambda choice: change(choice["logprobs"]) if choice["logprobs"] else None)


@mutant("logprobs/entry-per-token")
def last_entry_missing(model: Bundle) -> ASGIApp:
    """Leave out the entry of the last token."""
    return mutate_json(
        conforming_app(model),
        each_entry_list(lambda columns: [column.pop() for column in columns.values()]),
    )


@mutant("logprobs/top-n-and-chosen-token")
def chosen_token_omitted(model: Bundle) -> ASGIApp:
    """List only the N most probable tokens."""

    def remake(values: Logits, requested: Any, output: list[int]) -> TokenLogprobs:
        complete = entry(values, requested, output)
        return replace(complete, top=complete.top[: requested.logprobs])

    return with_logprobs(model, remake)


@mutant("logprobs/top-n-and-chosen-token")
def chosen_token_replaces_last(model: Bundle) -> ASGIApp:
    """Replace the last of the top N tokens by a chosen token that is not among them."""

    def remake(values: Logits, requested: Any, output: list[int]) -> TokenLogprobs:
        complete, n = entry(values, requested, output), requested.logprobs
        top = complete.top
        return replace(complete, top=(*top[: n - 1], top[-1]) if n else top)

    return with_logprobs(model, remake)


@mutant("logprobs/top-n-and-chosen-token")
def one_too_few(model: Bundle) -> ASGIApp:
    """List one token less than requested."""

    def remake(values: Logits, requested: Any, output: list[int]) -> TokenLogprobs:
        return token_logprobs(values, output[-1], max(0, requested.logprobs - 1))

    return with_logprobs(model, remake)


@mutant("logprobs/chosen-value-consistent")
def rounded(model: Bundle) -> ASGIApp:
    """Round `token_logprobs` to four digits."""

    def change(columns: Json) -> None:
        columns["token_logprobs"] = [round(v, 4) for v in columns["token_logprobs"]]

    return mutate_json(conforming_app(model), each_entry_list(change))


@mutant("logprobs/valid-probabilities", "logprobs/values-match-reference")
def logits_reported(model: Bundle) -> ASGIApp:
    """Report logits."""

    def remake(values: Logits, requested: Any, output: list[int]) -> TokenLogprobs:
        complete = entry(values, requested, output)
        top = tuple((token, value + 3) for token, value in complete.top)
        return replace(complete, logprob=complete.logprob + 3, top=top)

    return with_logprobs(model, remake)


@mutant("logprobs/finite-values")
def negative_infinity(model: Bundle) -> ASGIApp:
    """Report -Infinity for a masked token."""
    return mutate_text(
        after_truncation(model), lambda text, _: text.replace("-9999.0", "-Infinity")
    )


@mutant("logprobs/greedy-token-argmax", "logprobs/values-match-reference")
def previous_step_reported(model: Bundle) -> ASGIApp:
    """Report the log-probabilities of the step before."""
    before: list[Logits] = []

    def remake(values: Logits, requested: Any, output: list[int]) -> TokenLogprobs:
        before.append(values)
        return entry(before[-2] if len(output) > 1 else values, requested, output)

    return with_logprobs(model, remake)


@mutant("logprobs/sorted-descending")
def sorted_by_name(model: Bundle) -> ASGIApp:
    """Sort `top_logprobs` by name."""

    def change(columns: Json) -> None:
        columns["top_logprobs"] = [dict(sorted(top.items())) for top in columns["top_logprobs"]]

    return mutate_json(conforming_app(model), each_entry_list(change))


@mutant("logprobs/independent-of-temperature", "logprobs/values-match-reference")
def after_temperature(model: Bundle) -> ASGIApp:
    """Report log-probabilities at the temperature of the request."""

    def remake(values: Logits, requested: Any, output: list[int]) -> TokenLogprobs:
        scale = requested.temperature or 1.0
        return entry(log_softmax(l.temperature(values, scale)), requested, output)

    return with_logprobs(model, remake)


@mutant("logprobs/independent-of-penalties", "logprobs/values-before-penalties")
def after_penalties(model: Bundle) -> ASGIApp:
    """Report log-probabilities after the penalties of the output."""

    def remake(values: Logits, requested: Any, output: list[int]) -> TokenLogprobs:
        counts = np.bincount(output[:-1], minlength=len(values))
        values = l.frequency_penalty(values, counts, requested.frequency_penalty)
        values = l.presence_penalty(values, counts, requested.presence_penalty)
        return entry(log_softmax(values), requested, output)

    return with_logprobs(model, remake)


@mutant("logprobs/independent-of-truncation")
def after_truncation(model: Bundle) -> ASGIApp:
    """Report log-probabilities after truncation."""

    def remake(values: Logits, requested: Any, output: list[int]) -> TokenLogprobs:
        kept = l.top_p(l.top_k(l.temperature(values, 1.0), requested.top_k), requested.top_p)
        return entry(log_softmax(kept), requested, output)

    return with_logprobs(model, remake)


@mutant("logprobs/character-offsets")
def offsets_include_prompt(model: Bundle) -> ASGIApp:
    """Include the prompt in offsets, although it is not in the text."""

    def change(columns: Json) -> None:
        columns["text_offset"] = [offset + 16 for offset in columns["text_offset"]]

    return mutate_json(conforming_app(model), each_entry_list(change))


@mutant("logprobs/token-text-names")
def vocabulary_strings(model: Bundle) -> ASGIApp:
    """Report the strings of the vocabulary, in which a space is ▁."""

    def change(columns: Json) -> None:
        columns["tokens"] = [name.replace(" ", "▁") for name in columns["tokens"]]

    return mutate_json(conforming_app(model), each_entry_list(change))


@mutant("logprobs/token-string-collisions")
def colliding_entry_lost(model: Bundle) -> ASGIApp:
    """Lose the less probable of two tokens with the same text."""

    def change(columns: Json) -> None:
        columns["top_logprobs"] = [
            {n: v for n, v in top.items() if not n.startswith("token_id:")}
            for top in columns["top_logprobs"]
        ]

    broken = mutate_json(conforming_app(model), each_entry_list(change))
    return broken_when(model, lambda body: not body.get("return_tokens_as_token_ids"), broken)
