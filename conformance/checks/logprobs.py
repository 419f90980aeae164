"""logprobs: how likely each token was, and what else was likely."""

import math
from collections.abc import Iterator

from conformance.assertions.basic import equal, refused, require
from conformance.assertions.logprobs import (
    LOWEST,
    as_the_model_says,
    compare,
    demand_entries,
    must_be_alike,
    renormalised,
    scaled,
    under,
)
from conformance.assertions.next_token import WIDE, Row, first_row, naming
from conformance.assertions.token_boundaries import growth
from conformance.harness.capabilities import LOGPROBS, TOKEN_IDS
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.oracle.sampling import PROMPTS, draw
from conformance.verdicts import Evidence, Inconclusive, Level, Unsupported
from reference.output_text import TokenDisplay

MANY = 10**6  # more than any server gives
DRAWS = 40
TRIED = 100  # prompts that the reference reads in search of two tokens of one text
PENALTIES = {"frequency_penalty": -2, "presence_penalty": -2, "repetition_penalty": 0.5}


@protocol(Level.MUST, Evidence.EXACT)
def out_of_range_is_refused(server: Server) -> None:
    """A number below 0, or above the server's limit, is a 422 that names the field."""
    refused(server, "logprobs", [-1, MANY])


@protocol(Level.MUST, Evidence.EXACT)
def wrong_type_is_refused(server: Server) -> None:
    """What is no integer is a 422 that names the field."""
    refused(server, "logprobs", ["two", 1.5, [1], {}])


@protocol(Level.MUST, Evidence.EXACT)
def null_is_off(server: Server) -> None:
    """With null, or left out, a choice's `logprobs` is null."""
    for value in (None, ...):
        answer = server.ask(max_tokens=2, logprobs=value)
        equal(answer.choice.json.get("logprobs"), None, "logprobs", answer.at)


@protocol(Level.MUST, Evidence.EXACT)
def has_a_row_for_each_token(server: Server) -> None:
    """There is one row for each generated token, with a number and the likeliest tokens."""
    answer = server.ask(max_tokens=5, logprobs=2)
    rows = answer.choice.rows
    equal(len(rows.tokens), answer.completion_tokens, "rows", answer.at)
    numbers = all(isinstance(value, float | int) for value in rows.values)
    require(numbers, "a number for each token", rows.values, answer.at)
    require(all(rows.top), "top_logprobs for each token", rows.top, answer.at)


@protocol(Level.MUST, Evidence.EXACT)
def zero_reports_the_chosen_token(server: Server) -> None:
    """With 0 there are rows, each with the chosen token alone in its `top_logprobs`."""
    answer = server.ask(max_tokens=4, logprobs=0, temperature=2, **naming(server))
    rows = answer.choice.rows
    expected = [{name: value} for name, value in zip(rows.tokens, rows.values, strict=True)]
    equal(rows.top, expected, "top_logprobs", answer.at)


@protocol(Level.SHOULD, Evidence.EXACT)
def up_to_twenty_are_given(server: Server) -> None:
    """As many as 20 may be asked for, and come."""
    answer = server.ask(max_tokens=1, logprobs=WIDE, **naming(server))
    equal(len(answer.choice.rows.top[0] or {}), WIDE, "entries of top_logprobs", answer.at)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def lists_the_likeliest_and_the_chosen(server: Server) -> None:
    """With N a row lists the N likeliest tokens, and the chosen one if it is not among them."""
    row = first_row(server)
    count = next((k for k in range(8, WIDE) if row.clear(k - 1)), None)
    if count is None:
        raise Inconclusive("no number of tokens is clearly the likeliest")
    likeliest = set(row.names[:count])
    fields = {"prompt": row.prompt, "logprobs": count, "temperature": 2} | naming(server)
    choices = draw(server, DRAWS, **fields)
    if len({choice.rows.tokens[0] in likeliest for choice in choices}) == 1:
        raise Inconclusive(f"all {DRAWS} tokens were among the {count} likeliest, or none was")
    for choice in choices:
        demand_entries(choice, likeliest, choices)


def texts(server: Server, count: int) -> Iterator[Choice]:
    """A greedy text and one that is as random as can be."""
    for temperature in 0, 2:
        fields = {"max_tokens": 12, "logprobs": count, "temperature": temperature}
        yield server.ask(**fields, **naming(server)).choice


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def the_chosen_token_has_one_value(server: Server) -> None:
    """The chosen token's entry in `top_logprobs` is the number in `token_logprobs`, to the bit."""
    for choice in texts(server, 5):
        rows = choice.rows
        for name, value, top in zip(rows.tokens, rows.values, rows.top, strict=True):
            seen = (top or {}).get(name, value)
            require(seen == value, f"{value!r} for {name!r}", f"{seen!r}", choice.at)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def values_are_logarithms_of_probabilities(server: Server) -> None:
    """No value is above 0, and no row has more probability than there is."""
    for choice in texts(server, WIDE):
        for top in choice.rows.top:
            values = list((top or {}).values())
            above = [value for value in values if value > 1e-6]
            require(not above, "log-probabilities of 0 or less", above, choice.at)
            total = math.fsum(map(math.exp, values))
            require(total <= 1 + 1e-3, "probabilities that add up to 1 at most", total, choice.at)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def no_value_is_infinite(server: Server) -> None:
    """No value is NaN or infinite; what is less than everything is written −9999."""
    for fields in {"temperature": 0}, {"temperature": 1, "top_p": 0.1}:
        choice = server.ask(max_tokens=3, logprobs=WIDE, **fields).choice
        rows = choice.rows
        for value in [*rows.values, *(v for top in rows.top for v in (top or {}).values())]:
            fine = value is not None and math.isfinite(value) and value >= LOWEST
            require(fine, f"finite numbers from {LOWEST}", value, choice.at)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def the_greedy_token_is_the_likeliest(server: Server) -> None:
    """At temperature 0 the chosen token's value is the greatest of its row, to the bit."""
    for prompt in PROMPTS[:3]:
        choice = server.ask(prompt=prompt, max_tokens=8, logprobs=5, **naming(server)).choice
        for value, top in zip(choice.rows.values, choice.rows.top, strict=True):
            best = max((top or {}).values())
            require(value == best, f"{best!r}, the greatest", f"{value!r}", choice.at)


@consistency(Level.SHOULD, Evidence.EXACT, LOGPROBS)
def the_likeliest_come_first(server: Server) -> None:
    """`top_logprobs` has the likeliest first; the chosen token may be last."""
    for choice in texts(server, 5):
        for name, top in zip(choice.rows.tokens, choice.rows.top, strict=True):
            values = list((top or {}).items())
            if len(values) > 5 and values[-1][0] == name:
                values = values[:-1]
            ranked = sorted(values, key=lambda item: -item[1])
            equal(values, ranked, "top_logprobs", choice.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def do_not_depend_on_temperature(server: Server) -> None:
    """The values after a prompt are the same at any temperature."""
    row = doubtful(server)
    for temperature in 0, 0.5, 2:
        for what, other in under(server, row, [{"temperature": temperature}]):
            heated = bool(temperature) and scaled(row, other, temperature)
            must_be_alike(row, other, what, {"after temperature": heated})


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def do_not_depend_on_truncation(server: Server) -> None:
    """The values after a prompt are the same with top_p, top_k and min_p."""
    row = doubtful(server)
    settings = [{"temperature": 1, **cut} for cut in ({"top_p": 0.3}, {"top_k": 2}, {"min_p": 0.5})]
    for what, other in under(server, row, settings):
        must_be_alike(row, other, what, {"after truncation": renormalised(row, other)})


def doubtful(server: Server) -> Row:
    """A row at temperature 1, in which truncation and temperature would make a difference."""
    row = first_row(server, temperature=1)
    if max(row.values.values()) > math.log(0.9):
        raise Inconclusive("the model is in no doubt after the prompts tried")
    return row


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def do_not_depend_on_penalties(server: Server) -> None:
    """After equal beginnings the values are the same with penalties as without."""
    fields = {"max_tokens": 10, "logprobs": WIDE, **naming(server)}
    told = answered = False
    for prompt in PROMPTS[:2]:
        plain = server.ask(prompt=prompt, **fields).choice
        for name, value in PENALTIES.items():
            try:
                other = server.ask(prompt=prompt, **fields, **{name: value}).choice
            except Unsupported:
                continue
            answered = True
            told = compare(plain, other, f"{name} {value}") or told
    if not answered:
        raise Unsupported("every penalty is refused")
    if not told:
        raise Inconclusive("no penalised token is among the likeliest of what was tried")


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def offsets_count_characters(server: Server) -> None:
    """A token's `text_offset` is the length of the text before it."""
    grown = growth(server)
    answer = server.ask(**grown.asked, logprobs=0)
    equal(answer.choice.rows.offsets, [0, *grown.ends[:-1]], "text_offset", answer.at)


@consistency(Level.SHOULD, Evidence.METAMORPHIC, LOGPROBS)
def tokens_are_called_by_their_text(server: Server) -> None:
    """The names of the tokens, joined, are the text."""
    grown = growth(server)
    answer = server.ask(**grown.asked, logprobs=0)
    equal("".join(answer.choice.rows.tokens), answer.text, "tokens, joined", answer.at)


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def are_the_models(server: Server) -> None:
    """The values are those of the model itself, before anything that a request does to it, and the
    tokens listed are its likeliest.
    """
    for prompt, temperature in zip(PROMPTS, (0, 0.5, 2, 2), strict=False):
        as_the_model_says(server, 5, prompt=prompt, temperature=temperature)


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def are_those_before_penalties(server: Server) -> None:
    """The values are the model's own where a penalty changes what is chosen."""
    for prompt in PROMPTS[:3]:
        as_the_model_says(server, WIDE, prompt=prompt, temperature=0, frequency_penalty=-2)


@truth(Level.MUST, Evidence.EXACT, LOGPROBS, TOKEN_IDS)
def no_name_takes_anothers_place(server: Server) -> None:
    """Of two tokens with one text in one `top_logprobs` neither is lost."""
    truth, names = server.truth, TokenDisplay(server.truth.model.tokenizer, as_ids=False)
    for token in range(TRIED):
        prompt = f"The {names.name(token)}"
        likeliest = truth.logits(prompt).argsort()[::-1][:WIDE]
        if len({names.name(int(i)) for i in likeliest}) < WIDE:
            answer = server.ask(prompt=prompt, max_tokens=1, logprobs=WIDE)
            equal(len(answer.choice.rows.top[0] or {}), WIDE, "entries of top_logprobs", answer.at)
            return
    raise Inconclusive("after none of the prompts tried two tokens of one text are likely")
