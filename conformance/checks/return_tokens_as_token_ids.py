"""return_tokens_as_token_ids: the names of tokens in `logprobs` are their ids."""

from conformance.assertions.basic import assert_equal, assert_that
from conformance.assertions.token_boundaries import token_boundaries
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import (
    LOGPROBS,
    TOKEN_IDS,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.http.response import TOKEN_ID
from conformance.oracle.reference_text import reference_text
from conformance.verdicts import Evidence, Level

checks = CheckGroup("return_tokens_as_token_ids")

ON = {"return_tokens_as_token_ids": True}


@checks.protocol(Level.MUST, Evidence.EXACT, LOGPROBS)
def token_id_names(server: Server) -> None:
    """All names in `tokens` and in `top_logprobs` read token_id:<id>."""
    for temperature in 0, 2:
        answer = server.complete(max_tokens=6, logprobs=4, temperature=temperature, **ON)
        columns = answer.choice.logprobs
        names = columns.tokens + [name for top in columns.top for name in top or {}]
        wrong = [name for name in names if not TOKEN_ID.fullmatch(name)]
        assert_that(not wrong, "token_id:<id>", wrong, answer.at)


@checks.protocol(Level.MUST, Evidence.EXACT, LOGPROBS)
def text_names_by_default(server: Server) -> None:
    """With null or false, and without the field, names are not ids."""
    for value in ..., None, False:
        answer = server.complete(max_tokens=4, logprobs=2, return_tokens_as_token_ids=value)
        names = answer.choice.logprobs.tokens
        assert_that(not any(map(TOKEN_ID.fullmatch, names)), "names of text", names, answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def other_fields_unchanged(server: Server) -> None:
    """The text, the finish_reason and all log-probabilities are the same as without the field."""
    for prompt in PROMPTS[:3]:
        fields = {"prompt": prompt, "logprobs": 4}
        by_text, by_id = server.complete(**fields).choice, server.complete(**fields, **ON).choice
        assert_equal(by_id.text, by_text.text, "text", by_id.at)
        assert_equal(by_id.finish_reason, by_text.finish_reason, "finish_reason", by_id.at)
        assert_equal(by_id.logprobs.values, by_text.logprobs.values, "token_logprobs", by_id.at)
        seen, expected = (
            [sorted((top or {}).values()) for top in choice.logprobs.top]
            for choice in (by_id, by_text)
        )
        assert_equal(seen, expected, "values of top_logprobs", by_id.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def text_offsets_unchanged(server: Server) -> None:
    """`text_offset` counts characters of the text, not of the names."""
    boundaries = token_boundaries(server)
    answer = server.complete(**boundaries.fields, logprobs=0, **ON)
    assert_equal(
        answer.choice.logprobs.offsets, [0, *boundaries.ends[:-1]], "text_offset", answer.at
    )


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS, TOKEN_IDS)
def vocabulary_ids(server: Server) -> None:
    """The ids are those of the model's vocabulary: decoded, they are the text."""
    oracle = server.oracle
    for prompt in PROMPTS[:3]:
        fields = {"prompt": prompt, "max_tokens": 12, "temperature": 1}
        choice = server.complete(logprobs=0, **fields, **ON).choice
        ids = oracle.token_ids(choice)
        valid = all(0 <= token < oracle.model.vocab_size for token in ids)
        assert_that(valid, f"ids below {oracle.model.vocab_size}", ids, choice.at)
        expected = reference_text(oracle, prompt, ids, choice.finish_reason)
        assert_equal(choice.text, expected, f"the text of {ids}", choice.at)
