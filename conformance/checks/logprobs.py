"""logprobs: the log-probability of each token, and of the most probable alternatives."""

import math
from collections.abc import Iterator

from conformance.assertions.basic import assert_equal, assert_rejected, assert_that
from conformance.assertions.logprobs import (
    MIN_LOGPROB,
    assert_reference_logprobs,
    assert_same_logprobs,
    assert_top_logprobs,
    assert_unpenalized_logprobs,
    distributions_under,
    is_renormalized,
    is_scaled,
)
from conformance.assertions.next_token import (
    MAX_LOGPROBS,
    NextTokenDistribution,
    uncertain_distribution,
)
from conformance.assertions.token_boundaries import token_boundaries
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import LOGPROBS, TOKEN_IDS, unique_token_names
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.oracle.sampling import (
    sample_choices,
)
from conformance.verdicts import Evidence, Inconclusive, Level, Unsupported
from reference.output_text import TokenDisplay

checks = CheckGroup("logprobs")

ABOVE_ANY_LIMIT = 10**6
DRAWS = 40
MAX_PROMPTS = 100  # in which the reference looks for two tokens of one text
PENALTIES = {"frequency_penalty": -2, "presence_penalty": -2, "repetition_penalty": 0.5}


@checks.protocol(Level.MUST, Evidence.EXACT)
def above_server_limit(server: Server) -> None:
    """A number above the server's limit is a 422 that names the field."""
    assert_rejected(server, "logprobs", [ABOVE_ANY_LIMIT])


@checks.protocol(Level.MUST, Evidence.EXACT)
def off_by_default(server: Server) -> None:
    """With null, and without the field, a choice's `logprobs` is null."""
    for value in (None, ...):
        answer = server.complete(max_tokens=2, logprobs=value)
        assert_equal(answer.choice.json.get("logprobs"), None, "logprobs", answer.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def entry_per_token(server: Server) -> None:
    """There is one entry per generated token, with a number and the most probable tokens."""
    answer = server.complete(max_tokens=5, logprobs=2)
    columns = answer.choice.logprobs
    assert_equal(len(columns.tokens), answer.completion_tokens, "entries", answer.at)
    numbers = all(isinstance(value, float | int) for value in columns.values)
    assert_that(numbers, "a number for each token", columns.values, answer.at)
    assert_that(all(columns.top), "top_logprobs for each token", columns.top, answer.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def zero_lists_chosen_token(server: Server) -> None:
    """With 0 there are entries, and each lists only the chosen token in `top_logprobs`."""
    answer = server.complete(max_tokens=4, logprobs=0, temperature=2, **unique_token_names(server))
    columns = answer.choice.logprobs
    expected = [{name: value} for name, value in zip(columns.tokens, columns.values, strict=True)]
    assert_equal(columns.top, expected, "top_logprobs", answer.at)


@checks.protocol(Level.SHOULD, Evidence.EXACT)
def twenty_available(server: Server) -> None:
    """20 log-probabilities per token may be requested, and are returned."""
    answer = server.complete(max_tokens=1, logprobs=MAX_LOGPROBS, **unique_token_names(server))
    assert_equal(
        len(answer.choice.logprobs.top[0] or {}), MAX_LOGPROBS, "entries of top_logprobs", answer.at
    )


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def top_n_and_chosen_token(server: Server) -> None:
    """With N an entry lists the N most probable tokens, and the chosen one if it is not among
    them.
    """
    distribution = uncertain_distribution(server)
    count = next((k for k in range(8, MAX_LOGPROBS) if distribution.is_separated(k - 1)), None)
    if count is None:
        raise Inconclusive("every boundary between ranks is nearly a tie")
    top = set(distribution.names[:count])
    fields = {
        "prompt": distribution.prompt,
        "logprobs": count,
        "temperature": 2,
    } | unique_token_names(server)
    choices = sample_choices(server, DRAWS, **fields)
    if len({choice.logprobs.tokens[0] in top for choice in choices}) == 1:
        raise Inconclusive(f"all or none of {DRAWS} tokens were among the top {count}")
    for choice in choices:
        assert_top_logprobs(choice, top, choices)


def greedy_and_sampled(server: Server, count: int) -> Iterator[Choice]:
    """Yield a greedy choice and one at the highest temperature."""
    for temperature in 0, 2:
        fields = {"max_tokens": 12, "logprobs": count, "temperature": temperature}
        yield server.complete(**fields, **unique_token_names(server)).choice


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def chosen_value_consistent(server: Server) -> None:
    """The chosen token's value in `top_logprobs` is the one in `token_logprobs`, to the bit."""
    for choice in greedy_and_sampled(server, 5):
        columns = choice.logprobs
        for name, value, top in zip(columns.tokens, columns.values, columns.top, strict=True):
            seen = (top or {}).get(name, value)
            assert_that(seen == value, f"{value!r} for {name!r}", f"{seen!r}", choice.at)


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def valid_probabilities(server: Server) -> None:
    """No value is above 0, and the probabilities of an entry sum to 1 at most."""
    for choice in greedy_and_sampled(server, MAX_LOGPROBS):
        for top in choice.logprobs.top:
            values = list((top or {}).values())
            above = [value for value in values if value > 1e-6]
            assert_that(not above, "log-probabilities of 0 or less", above, choice.at)
            total = math.fsum(map(math.exp, values))
            assert_that(
                total <= 1 + 1e-3, "probabilities with a sum of 1 at most", total, choice.at
            )


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def finite_values(server: Server) -> None:
    """No value is NaN or infinite; a log-probability of minus infinity is written −9999."""
    for fields in {"temperature": 0}, {"temperature": 1, "top_p": 0.1}:
        choice = server.complete(max_tokens=3, logprobs=MAX_LOGPROBS, **fields).choice
        columns = choice.logprobs
        for value in [*columns.values, *(v for top in columns.top for v in (top or {}).values())]:
            valid = value is not None and math.isfinite(value) and value >= MIN_LOGPROB
            assert_that(valid, f"finite numbers from {MIN_LOGPROB}", value, choice.at)


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def greedy_token_argmax(server: Server) -> None:
    """At temperature 0 the chosen token's value is the greatest of its entry, to the bit."""
    for prompt in PROMPTS[:3]:
        choice = server.complete(
            prompt=prompt, max_tokens=8, logprobs=5, **unique_token_names(server)
        ).choice
        for value, top in zip(choice.logprobs.values, choice.logprobs.top, strict=True):
            best = max((top or {}).values())
            assert_that(value == best, f"{best!r}, the greatest", f"{value!r}", choice.at)


@checks.consistency(Level.SHOULD, Evidence.EXACT, LOGPROBS)
def sorted_descending(server: Server) -> None:
    """`top_logprobs` is in descending order; the chosen token may be last."""
    for choice in greedy_and_sampled(server, 5):
        for name, top in zip(choice.logprobs.tokens, choice.logprobs.top, strict=True):
            values = list((top or {}).items())
            if len(values) > 5 and values[-1][0] == name:
                values = values[:-1]
            ranked = sorted(values, key=lambda item: -item[1])
            assert_equal(values, ranked, "top_logprobs", choice.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def independent_of_temperature(server: Server) -> None:
    """The values after a prompt are the same at any temperature."""
    distribution = uncertain_distribution_at_one(server)
    for temperature in 0, 0.5, 2:
        for what, other in distributions_under(
            server, distribution, [{"temperature": temperature}]
        ):
            scaled = bool(temperature) and is_scaled(distribution, other, temperature)
            assert_same_logprobs(distribution, other, what, {"after temperature": scaled})


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def independent_of_truncation(server: Server) -> None:
    """The values after a prompt are the same with top_p, top_k and min_p."""
    distribution = uncertain_distribution_at_one(server)
    settings = [{"temperature": 1, **cut} for cut in ({"top_p": 0.3}, {"top_k": 2}, {"min_p": 0.5})]
    for what, other in distributions_under(server, distribution, settings):
        assert_same_logprobs(
            distribution, other, what, {"after truncation": is_renormalized(distribution, other)}
        )


def uncertain_distribution_at_one(server: Server) -> NextTokenDistribution:
    """Return a distribution at temperature 1 that truncation and temperature would change."""
    distribution = uncertain_distribution(server, temperature=1)
    if max(distribution.values.values()) > math.log(0.9):
        raise Inconclusive("after every tried prompt one token has nearly all probability")
    return distribution


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def independent_of_penalties(server: Server) -> None:
    """After equal prefixes the values are the same with penalties and without."""
    fields = {"max_tokens": 10, "logprobs": MAX_LOGPROBS, **unique_token_names(server)}
    significant = answered = False
    for prompt in PROMPTS[:2]:
        plain = server.complete(prompt=prompt, **fields).choice
        for name, value in PENALTIES.items():
            try:
                penalized = server.complete(prompt=prompt, **fields, **{name: value}).choice
            except Unsupported:
                continue
            answered = True
            significant = (
                assert_unpenalized_logprobs(plain, penalized, f"{name} {value}") or significant
            )
    if not answered:
        raise Unsupported("every penalty is refused")
    if not significant:
        raise Inconclusive("no penalized token is among the most probable after the tried prompts")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def character_offsets(server: Server) -> None:
    """A token's `text_offset` is the length of the text before it."""
    boundaries = token_boundaries(server)
    answer = server.complete(**boundaries.fields, logprobs=0)
    assert_equal(
        answer.choice.logprobs.offsets, [0, *boundaries.ends[:-1]], "text_offset", answer.at
    )


@checks.consistency(Level.SHOULD, Evidence.METAMORPHIC, LOGPROBS)
def token_text_names(server: Server) -> None:
    """The names of the tokens, joined, are the text."""
    boundaries = token_boundaries(server)
    answer = server.complete(**boundaries.fields, logprobs=0)
    assert_equal("".join(answer.choice.logprobs.tokens), answer.text, "tokens, joined", answer.at)


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def values_match_reference(server: Server) -> None:
    """The values are those of the model itself, before any parameter of the request changes them,
    and the tokens listed are the model's most probable ones.
    """
    for prompt, temperature in zip(PROMPTS, (0, 0.5, 2, 2), strict=False):
        assert_reference_logprobs(server, 5, prompt=prompt, temperature=temperature)


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def values_before_penalties(server: Server) -> None:
    """The values are the model's own even where a penalty changes which token is chosen."""
    for prompt in PROMPTS[:3]:
        assert_reference_logprobs(
            server, MAX_LOGPROBS, prompt=prompt, temperature=0, frequency_penalty=-2
        )


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS, TOKEN_IDS)
def token_string_collisions(server: Server) -> None:
    """If two tokens of one `top_logprobs` have the same text, both are listed."""
    oracle, names = server.oracle, TokenDisplay(server.oracle.model.tokenizer, as_ids=False)
    for token in range(MAX_PROMPTS):
        prompt = f"The {names.name(token)}"
        top = oracle.logits(prompt).argsort()[::-1][:MAX_LOGPROBS]
        if len({names.name(int(i)) for i in top}) < MAX_LOGPROBS:
            answer = server.complete(prompt=prompt, max_tokens=1, logprobs=MAX_LOGPROBS)
            assert_equal(
                len(answer.choice.logprobs.top[0] or {}),
                MAX_LOGPROBS,
                "entries of top_logprobs",
                answer.at,
            )
            return
    raise Inconclusive("after no tried prompt two of the most probable tokens have the same text")
