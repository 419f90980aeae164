"""echo: the prompt comes back before the output, with its log-probabilities if they are asked
for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.assertions.basic import equal, refused, require
from conformance.assertions.logprobs import echoed_as_the_model_says
from conformance.assertions.next_token import GAP, naming
from conformance.assertions.token_boundaries import growth
from conformance.harness.capabilities import (
    ECHO,
    ECHOED_ROWS,
    LOGPROBS,
    PROMPT_IDS,
    SEVERAL,
    TOKEN_ID,
    TOKEN_IDS,
)
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import PROMPT, Server
from conformance.http.exchange import Exchange
from conformance.http.response import Answer, Rows
from conformance.oracle.sampling import PROMPTS
from conformance.verdicts import Evidence, Inconclusive, Level

ODD = ("  Two spaces", "A line\n", "Zoë 🙂 says ", "a </s> b", "\tTab", " ")
COUNT = 8


@protocol(Level.MUST, Evidence.EXACT)
def wrong_type_is_refused(server: Server) -> None:
    """What is no boolean is a 422 that names the field."""
    refused(server, "echo", ["perhaps", 2, [True], {}])


@protocol(Level.MUST, Evidence.EXACT)
def null_and_false_are_off(server: Server) -> None:
    """With null or false, or left out, the text is the output alone."""
    texts = [server.ask(max_tokens=4, echo=value).text for value in (..., None, False)]
    require(len(set(texts)) == 1, f"{texts[0]!r} each time", texts, server.last)
    require(not texts[0].startswith(PROMPT), "no prompt in the text", texts[0], server.last)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def the_prompt_comes_back_as_it_was_sent(server: Server) -> None:
    """The text is the prompt, to the character, and then the output."""
    for prompt in (PROMPT, *ODD):
        plain = server.ask(prompt=prompt, max_tokens=2)
        echoed = server.ask(prompt=prompt, max_tokens=2, echo=True)
        equal(echoed.text, prompt + plain.text, "text", echoed.at)
        equal(echoed.completion_tokens, plain.completion_tokens, "completion_tokens", echoed.at)


@consistency(Level.MUST, Evidence.EXACT, SEVERAL, ECHO)
def each_choice_has_the_prompt(server: Server) -> None:
    """With n every choice begins with the prompt."""
    answer = server.ask(n=3, max_tokens=2, temperature=1, echo=True)
    for choice in answer.choices:
        require(choice.text.startswith(PROMPT), f"{PROMPT!r} first", choice.text, answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_IDS, ECHOED_ROWS, TOKEN_IDS)
def a_prompt_of_ids_comes_back_as_text(server: Server) -> None:
    """A list of token ids comes back as the text that is read as these ids."""
    for prompt in (PROMPT, "Zoë 🙂 says"):
        ids, _ = told_ids(server, prompt)
        text = server.ask(prompt=ids, max_tokens=1, echo=True).text
        require(text.startswith(prompt), f"{prompt!r} first", text, server.last)


def told_ids(server: Server, prompt: str, count: int = 1) -> tuple[list[int], Answer]:
    """The ids of a prompt and of what the server adds to it, and the answer that tells the ids of
    the prompt.
    """
    fields = {"logprobs": 1, "echo": True, "return_tokens_as_token_ids": True}
    answer = server.ask(prompt=prompt, max_tokens=count, **fields)
    found = [TOKEN_ID.fullmatch(name) for name in answer.choice.rows.tokens]
    require(all(found), "token_id:… for each token", answer.choice.rows.tokens, answer.at)
    ids = [int(match[1]) for match in found if match]
    return ids[: answer.prompt_tokens], answer


@consistency(Level.MUST, Evidence.EXACT, ECHO, LOGPROBS)
def has_rows_for_the_prompt_too(server: Server) -> None:
    """With logprobs there is a row for each token of prompt and output; the first, before which
    nothing comes, has null for both its log-probability and its likeliest tokens.
    """
    for count in 1, 4:
        answer = server.ask(max_tokens=count, echo=True, logprobs=2)
        rows, tokens = answer.choice.rows, answer.prompt_tokens + answer.completion_tokens
        equal(len(rows.tokens), tokens, "rows", answer.at)
        equal((rows.values[0], rows.top[0]), (None, None), "the first row", answer.at)
        numbers = all(isinstance(value, float | int) for value in rows.values[1:])
        require(numbers, "numbers in all rows but the first", rows.values, answer.at)
        require(all(rows.top[1:]), "top_logprobs in all rows but the first", rows.top, answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, ECHOED_ROWS)
def rows_of_the_output_are_the_same(server: Server) -> None:
    """The rows of the output are those without echo, but for their offsets."""
    fields = {"max_tokens": 4, "logprobs": 2}
    plain, echoed = server.ask(**fields), server.ask(**fields, echo=True)
    one, two, start = plain.choice.rows, echoed.choice.rows, echoed.prompt_tokens
    equal(two.tokens[start:], one.tokens, "tokens", echoed.at)
    within(server, one.values, two.values[start:], echoed.at)
    offsets = [offset + len(PROMPT) for offset in one.offsets]
    equal(two.offsets[start:], offsets, "text_offset", echoed.at)


@consistency(Level.MUST, Evidence.EXACT, ECHOED_ROWS)
def offsets_count_characters_of_the_text(server: Server) -> None:
    """`text_offset` counts characters of the whole text: the output begins after the prompt."""
    for prompt in (PROMPT, "Zoë 🙂 says", "  Two spaces"):
        answer = server.ask(prompt=prompt, max_tokens=2, echo=True, logprobs=0)
        offsets, start = answer.choice.rows.offsets, answer.prompt_tokens
        equal(offsets[0], 0, "the first offset", answer.at)
        equal(offsets, sorted(offsets), "text_offset", answer.at)
        equal(offsets[start], len(prompt), "the first offset of the output", answer.at)


def within(
    server: Server, one: Sequence[float | None], other: Sequence[float | None], at: Exchange | None
) -> None:
    """Log-probabilities that are computed in two ways: one token at a time, and all together."""
    tolerance = GAP if server.target.truth is None else server.truth.tolerance
    near = len(one) == len(other) and all(
        a is not None and b is not None and abs(a - b) <= tolerance
        for a, b in zip(one, other, strict=True)
    )
    require(near, f"{one} within {tolerance}", f"{other}", at)


@dataclass(frozen=True)
class Scored:
    """A text that a server wrote, given back to it as a prompt. start: how many tokens the first
    prompt has. rows: those of all tokens, and of one more. said: the log-probabilities that were
    reported while it was written.
    """

    ids: list[int]
    start: int
    rows: Rows
    said: list[float | None]


def scored(server: Server) -> Scored:
    """As lm-eval does it: ids, one token more, log-probabilities of everything."""
    _, written = told_ids(server, PROMPT, COUNT)
    rows, start = written.choice.rows, written.prompt_tokens
    ids = [int(name.removeprefix("token_id:")) for name in rows.tokens]
    again = server.ask(prompt=ids, max_tokens=1, logprobs=1, echo=True, **naming(server))
    equal(len(again.choice.rows.tokens), len(ids) + 1, "rows", again.at)
    return Scored(ids, start, again.choice.rows, rows.values[start:])


@consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_IDS, ECHOED_ROWS, TOKEN_IDS)
def scores_a_text_as_when_it_was_written(server: Server) -> None:
    """A token has the same log-probability in an echoed prompt as when it was generated, but for
    rounding.
    """
    found = scored(server)
    values = found.rows.values[found.start : len(found.ids)]
    within(server, found.said, values, server.last)


@consistency(Level.MUST, Evidence.EXACT, PROMPT_IDS, ECHOED_ROWS, TOKEN_IDS)
def tells_whether_a_text_is_greedy(server: Server) -> None:
    """A prompt token's value is the greatest of its row, to the bit, if it is the likeliest, and
    only then: so evaluations (lm-eval) tell whether a text is what the model would have said.
    """
    found = scored(server)
    inside = slice(found.start, len(found.ids))
    for value, top in zip(found.rows.values[inside], found.rows.top[inside], strict=True):
        require(value == max((top or {}).values()), f"{value!r}, the greatest", f"{top}")
    other = unlikely(server, found)
    rows = server.ask(prompt=other, max_tokens=1, logprobs=1, echo=True).choice.rows
    value, top = rows.values[len(other) - 1], rows.top[len(other) - 1] or {}
    least = value is not None and value < max(top.values())
    require(least, "a value below the greatest for an unlikely token", f"{value!r} of {top}")


def unlikely(server: Server, found: Scored) -> list[int]:
    """The text with another last token: one that is clearly not the likeliest there."""
    ids = found.ids[: found.start + 2]
    fields = {"max_tokens": 1, "logprobs": 5, "return_tokens_as_token_ids": True}
    top = server.ask(prompt=ids, **fields).choice.rows.top[0] or {}
    name = min(top, key=lambda n: top[n])
    if max(top.values()) - top[name] < GAP or not TOKEN_ID.fullmatch(name):
        raise Inconclusive("no token is clearly less likely than another")
    return [*ids, int(name.removeprefix("token_id:"))]


@consistency(Level.MUST, Evidence.METAMORPHIC, ECHO)
def stop_strings_are_not_sought_in_the_prompt(server: Server) -> None:
    """A stop string that stands in the prompt, or begins in it, ends nothing."""
    grown = growth(server)
    plain = server.ask(prompt=grown.prompt, echo=True)
    inside, border = grown.prompt[:3], grown.prompt[-2:] + grown.text[:1]
    stops = [stop for stop in (inside, border) if stop not in grown.text]
    if not stops:
        raise Inconclusive("the output repeats the prompt")
    for stop in stops:
        answer = server.ask(prompt=grown.prompt, echo=True, stop=stop)
        equal(answer.text, plain.text, f"with stop {stop!r} the text", answer.at)
        equal(answer.choice.finish_reason, "length", "finish_reason", answer.at)


@truth(Level.MUST, Evidence.EXACT, ECHOED_ROWS)
def values_of_the_prompt_are_the_models(server: Server) -> None:
    """A prompt token's log-probability, and the likeliest tokens in its place, are what the model
    says given the tokens before it.
    """
    for prompt in (" ".join(PROMPTS[:4]), "Zoë 🙂 says"):
        echoed_as_the_model_says(server, 3, prompt)
