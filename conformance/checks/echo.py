"""echo: return the prompt before the output, with its log-probabilities if `logprobs` is set."""

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.assertions.basic import assert_equal, assert_that
from conformance.assertions.logprobs import assert_reference_prompt_logprobs
from conformance.assertions.next_token import (
    TIE_GAP,
)
from conformance.assertions.special_tokens import prompt_with_special_tokens
from conformance.assertions.token_boundaries import token_boundaries
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import (
    ECHO,
    LOGPROBS,
    MULTIPLE_CHOICES,
    PROMPT_IDS,
    PROMPT_LOGPROBS,
    STREAM,
    TOKEN_IDS,
    unique_token_names,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import PROMPT, Server
from conformance.http.exchange import Exchange
from conformance.http.response import TOKEN_ID, Completion, Logprobs
from conformance.verdicts import Evidence, Inconclusive, Level
from reference.tokenizer.detokenizer import token_offsets

checks = CheckGroup("echo")

UNUSUAL_PROMPTS = ("  Two spaces", "A line\n", "Zoë 🙂 says ", "a </s> b", "\tTab", " ")
SCORED_TOKENS = 8
SIXTEEN_BITS = 0.5  # a difference of log-probabilities that rounding to 16 bits may explain


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def prompt_verbatim(server: Server) -> None:
    """The text is the prompt, character by character, followed by the output."""
    for prompt in (PROMPT, *UNUSUAL_PROMPTS):
        plain = server.complete(prompt=prompt, max_tokens=2)
        echoed = server.complete(prompt=prompt, max_tokens=2, echo=True)
        assert_equal(echoed.text, prompt + plain.text, "text", echoed.at)
        assert_equal(
            echoed.completion_tokens, plain.completion_tokens, "completion_tokens", echoed.at
        )


@checks.consistency(Level.MUST, Evidence.EXACT, MULTIPLE_CHOICES, ECHO)
def prompt_in_every_choice(server: Server) -> None:
    """With n, every choice begins with the prompt."""
    answer = server.complete(n=3, max_tokens=2, temperature=1, echo=True)
    for choice in answer.choices:
        assert_that(choice.text.startswith(PROMPT), f"{PROMPT!r} first", choice.text, answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_IDS, PROMPT_LOGPROBS, TOKEN_IDS)
def token_ids_decoded(server: Server) -> None:
    """A prompt of token ids is echoed as the text that tokenizes to these ids."""
    for prompt in (PROMPT, "Zoë 🙂 says"):
        ids, _ = echoed_token_ids(server, prompt)
        text = server.complete(prompt=ids, max_tokens=1, echo=True).text
        assert_that(text.startswith(prompt), f"{prompt!r} first", text, server.last)


def echoed_token_ids(
    server: Server, prompt: str, max_tokens: int = 1
) -> tuple[list[int], Completion]:
    """Return the token ids of a prompt, and the answer that reports them."""
    fields = {"logprobs": 1, "echo": True, "return_tokens_as_token_ids": True}
    answer = server.complete(prompt=prompt, max_tokens=max_tokens, **fields)
    matches = [TOKEN_ID.fullmatch(name) for name in answer.choice.logprobs.tokens]
    assert_that(all(matches), "token_id:… for each token", answer.choice.logprobs.tokens, answer.at)
    ids = [int(match[1]) for match in matches if match]
    return ids[: answer.prompt_tokens], answer


@checks.consistency(Level.MUST, Evidence.EXACT, ECHO, LOGPROBS)
def prompt_logprobs(server: Server) -> None:
    """`logprobs` has an entry for each token of prompt and output. The first token follows nothing:
    both its log-probability and its top tokens are null.
    """
    for count in 1, 4:
        answer = server.complete(max_tokens=count, echo=True, logprobs=2)
        logprobs, tokens = answer.choice.logprobs, answer.prompt_tokens + answer.completion_tokens
        assert_equal(len(logprobs.tokens), tokens, "entries", answer.at)
        assert_equal(
            (logprobs.values[0], logprobs.top[0]), (None, None), "the first entry", answer.at
        )
        numbers = all(isinstance(value, float | int) for value in logprobs.values[1:])
        assert_that(numbers, "numbers after the first entry", logprobs.values, answer.at)
        assert_that(all(logprobs.top[1:]), "top_logprobs after the first", logprobs.top, answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LOGPROBS)
def output_logprobs_unchanged(server: Server) -> None:
    """The entries of the output equal those without echo, except for their offsets."""
    fields = {"max_tokens": 4, "logprobs": 2}
    plain, echoed = server.complete(**fields), server.complete(**fields, echo=True)
    expected, actual, start = plain.choice.logprobs, echoed.choice.logprobs, echoed.prompt_tokens
    assert_equal(actual.tokens[start:], expected.tokens, "tokens", echoed.at)
    assert_logprobs_close(server, expected.values, actual.values[start:], echoed.at)
    offsets = [offset + len(PROMPT) for offset in expected.offsets]
    assert_equal(actual.offsets[start:], offsets, "text_offset", echoed.at)


@checks.consistency(Level.MUST, Evidence.EXACT, PROMPT_LOGPROBS)
def character_offsets(server: Server) -> None:
    """`text_offset` counts characters of the whole text: the output begins after the prompt."""
    for prompt in (PROMPT, "Zoë 🙂 says", "  Two spaces"):
        answer = server.complete(prompt=prompt, max_tokens=2, echo=True, logprobs=0)
        offsets, start = answer.choice.logprobs.offsets, answer.prompt_tokens
        assert_equal(offsets[0], 0, "the first offset", answer.at)
        assert_equal(offsets, sorted(offsets), "text_offset", answer.at)
        assert_equal(offsets[start], len(prompt), "the first offset of the output", answer.at)


def assert_logprobs_close(
    server: Server,
    expected: Sequence[float | None],
    actual: Sequence[float | None],
    at: Exchange | None,
) -> None:
    """Assert that log-probabilities from prefill and from decode agree within the tolerance."""
    has_oracle = server.target.oracle is not None
    tolerance = server.oracle.tolerance if has_oracle else TIE_GAP
    pairs = list(zip(expected, actual, strict=False))
    same_length = len(expected) == len(actual) == len(pairs)
    differences = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    complete = same_length and len(differences) == len(pairs)
    largest = max(differences, default=0.0)
    if complete and not has_oracle and TIE_GAP < largest <= SIXTEEN_BITS:
        raise Inconclusive(f"up to {largest:.2g} apart: --truth shows whether rounding explains it")
    close = complete and largest <= tolerance
    assert_that(close, f"{expected} within {tolerance}", f"{actual}", at)


@dataclass(frozen=True)
class ScoredText:
    """A text that the server generated, sent back as a prompt of token ids.

    start: number of tokens of the original prompt. logprobs: the echoed entries of `ids`, and of
    one more token. generated: the log-probabilities reported when the text was generated.
    """

    ids: list[int]
    start: int
    logprobs: Logprobs
    generated: list[float | None]


def score_generated_text(server: Server) -> ScoredText:
    """Score a text as lm-eval does: prompt of ids, one more token, echoed log-probabilities."""
    _, answer = echoed_token_ids(server, PROMPT, SCORED_TOKENS)
    logprobs, start = answer.choice.logprobs, answer.prompt_tokens
    ids = [int(name.removeprefix("token_id:")) for name in logprobs.tokens]
    scored = server.complete(
        prompt=ids, max_tokens=1, logprobs=1, echo=True, **unique_token_names(server)
    )
    assert_equal(len(scored.choice.logprobs.tokens), len(ids) + 1, "entries", scored.at)
    return ScoredText(ids, start, scored.choice.logprobs, logprobs.values[start:])


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_IDS, PROMPT_LOGPROBS, TOKEN_IDS)
def prompt_scoring_matches_generation(server: Server) -> None:
    """A token has the same log-probability in an echoed prompt as when it was generated, up to
    rounding.
    """
    scored = score_generated_text(server)
    values = scored.logprobs.values[scored.start : len(scored.ids)]
    assert_logprobs_close(server, scored.generated, values, server.last)


@checks.consistency(Level.MUST, Evidence.EXACT, PROMPT_IDS, PROMPT_LOGPROBS, TOKEN_IDS)
def greedy_detectable_from_echo(server: Server) -> None:
    """The log-probability of a prompt token is bitwise equal to the maximum of its top tokens if
    and only if it is the argmax: evaluations (lm-eval) detect greedy texts this way.
    """
    scored = score_generated_text(server)
    output = slice(scored.start, len(scored.ids))
    entries = zip(scored.logprobs.values[output], scored.logprobs.top[output], strict=True)
    for value, top in entries:
        assert_that(value == max((top or {}).values()), f"{value!r}, the greatest", f"{top}")
    ids = with_unlikely_last_token(server, scored)
    logprobs = server.complete(prompt=ids, max_tokens=1, logprobs=1, echo=True).choice.logprobs
    value, top = logprobs.values[len(ids) - 1], logprobs.top[len(ids) - 1] or {}
    below = value is not None and value < max(top.values())
    assert_that(below, "a value below the greatest for an unlikely token", f"{value!r} of {top}")


def with_unlikely_last_token(server: Server, scored: ScoredText) -> list[int]:
    """Return the beginning of a text with a last token that is clearly not the argmax."""
    ids = scored.ids[: scored.start + 2]
    fields = {"max_tokens": 1, "logprobs": 5, "return_tokens_as_token_ids": True}
    top = server.complete(prompt=ids, **fields).choice.logprobs.top[0] or {}
    name = min(top, key=lambda n: top[n])
    if max(top.values()) - top[name] < TIE_GAP or not TOKEN_ID.fullmatch(name):
        raise Inconclusive("no token is clearly less likely than another")
    return [*ids, int(name.removeprefix("token_id:"))]


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, ECHO)
def no_stop_in_prompt(server: Server) -> None:
    """A stop string that is in the prompt, or begins in it, does not end the text."""
    boundaries = token_boundaries(server)
    plain = server.complete(prompt=boundaries.prompt, echo=True)
    inside, border = boundaries.prompt[:3], boundaries.prompt[-2:] + boundaries.text[:1]
    stops = [stop for stop in (inside, border) if stop not in boundaries.text]
    if not stops:
        raise Inconclusive("the output repeats the prompt")
    for stop in stops:
        answer = server.complete(prompt=boundaries.prompt, echo=True, stop=stop)
        assert_equal(answer.text, plain.text, f"with stop {stop!r} the text", answer.at)
        assert_equal(answer.choice.finish_reason, "length", "finish_reason", answer.at)


@checks.truth(Level.MUST, Evidence.EXACT, PROMPT_LOGPROBS)
def prompt_logprobs_match_model(server: Server) -> None:
    """The log-probability of a prompt token, and the top tokens at its position, are those of the
    model given the tokens before it.
    """
    for prompt in (" ".join(PROMPTS[:4]), "Zoë 🙂 says"):
        assert_reference_prompt_logprobs(server, 3, prompt)


@checks.truth(Level.MUST, Evidence.EXACT, PROMPT_IDS, PROMPT_LOGPROBS, STREAM)
def special_tokens_verbatim(server: Server) -> None:
    """A prompt with special tokens is echoed as sent, and its ids as the text that encodes to them.
    `text_offset` is where each token begins in it, streamed or not.
    """
    text = prompt_with_special_tokens(server.oracle)
    ids = list(server.oracle.ids(text))
    expected = [*token_offsets(server.oracle.model.tokenizer, ids, text), len(text)]
    for prompt in (text, ids):
        fields = {"prompt": prompt, "max_tokens": 1, "echo": True, "logprobs": 0}
        for choice in server.complete(**fields).choice, server.stream(**fields).completion.choice:
            assert_that(choice.text.startswith(text), f"{text!r} first", choice.text, choice.at)
            assert_equal(choice.logprobs.offsets, expected, "text_offset", choice.at)
