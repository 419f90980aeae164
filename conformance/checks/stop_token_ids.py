"""stop_token_ids: tokens that end the text."""

from dataclasses import dataclass

from conformance.assertions.basic import assert_equal, assert_rejected, assert_same_choices
from conformance.assertions.end_of_sequence import (
    ended_completion,
    reference_first_token,
    seeded_request_for,
)
from conformance.assertions.token_boundaries import token_boundaries
from conformance.harness.capabilities import (
    LOGPROBS,
    SEEDS,
    TOKEN_IDS,
    unique_token_names,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.http.response import TOKEN_ID, Logprobs
from conformance.verdicts import Evidence, Inconclusive, Level

checks = CheckGroup("stop_token_ids")

ABOVE_ANY_VOCABULARY = 2**31


@checks.protocol(Level.MUST, Evidence.EXACT)
def outside_vocabulary(server: Server) -> None:
    """An id that is not in the model's vocabulary is a 422 that names the field."""
    assert_rejected(server, "stop_token_ids", [[ABOVE_ANY_VOCABULARY], [5, ABOVE_ANY_VOCABULARY]])


@dataclass(frozen=True)
class StopToken:
    """A token of a greedy text that does not occur earlier in it.

    count: the number of tokens up to and including it. before: the text up to it. logprobs: the
    entries of the whole text.
    """

    prompt: str
    id: int
    count: int
    before: str
    logprobs: Logprobs


def stop_token(server: Server) -> StopToken:
    """Return a token of a text to which every token adds characters. Raises Inconclusive if there
    is none.
    """
    boundaries = token_boundaries(server)
    fields = {"logprobs": 1, "return_tokens_as_token_ids": True}
    logprobs = server.complete(**boundaries.fields, **fields).choice.logprobs
    for i in range(2, len(logprobs.tokens)):
        match = TOKEN_ID.fullmatch(logprobs.tokens[i])
        if match and logprobs.tokens[i] not in logprobs.tokens[:i]:
            before = boundaries.text[: boundaries.ends[i - 1]]
            return StopToken(boundaries.prompt, int(match[1]), i + 1, before, logprobs)
    raise Inconclusive("every token of the text occurs earlier in it")


def absent_ids(logprobs: Logprobs) -> list[int]:
    """Return ids that are not in a text; the first three are special in most vocabularies."""
    ids = [i for i in range(3, 10) if f"token_id:{i}" not in logprobs.tokens]
    if not ids:
        raise Inconclusive("all tried ids are in the text")
    return ids


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def text_ends_before_token(server: Server) -> None:
    """The text ends before the stop token, which is not part of it; `finish_reason` is stop."""
    stop = stop_token(server)
    for ids in [stop.id], [*absent_ids(stop.logprobs), stop.id]:
        answer = server.complete(prompt=stop.prompt, stop_token_ids=ids)
        assert_equal(answer.text, stop.before, "text", answer.at)
        assert_equal(answer.choice.finish_reason, "stop", "finish_reason", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def stop_reason_token_id(server: Server) -> None:
    """`stop_reason` is the id of the token that ended the text, a number."""
    stop = stop_token(server)
    choice = server.complete(prompt=stop.prompt, stop_token_ids=[stop.id]).choice
    assert_equal(choice.stop_reason, stop.id, "stop_reason", choice.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def token_in_usage(server: Server) -> None:
    """completion_tokens counts the stop token."""
    stop = stop_token(server)
    answer = server.complete(prompt=stop.prompt, stop_token_ids=[stop.id])
    assert_equal(answer.completion_tokens, stop.count, "completion_tokens", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def token_in_logprobs(server: Server) -> None:
    """`logprobs` has an entry for the stop token, at the end of the text."""
    stop = stop_token(server)
    fields = {"logprobs": 1, "return_tokens_as_token_ids": True}
    choice = server.complete(prompt=stop.prompt, stop_token_ids=[stop.id], **fields).choice
    assert_equal(choice.logprobs.tokens, stop.logprobs.tokens[: stop.count], "tokens", choice.at)
    assert_equal(choice.logprobs.offsets[-1], len(stop.before), "the last offset", choice.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def stop_over_length(server: Server) -> None:
    """If the last token within max_tokens is a stop token, `finish_reason` is stop."""
    stop = stop_token(server)
    fields = {"max_tokens": stop.count, "stop_token_ids": [stop.id]}
    choice = server.complete(prompt=stop.prompt, **fields).choice
    assert_equal(choice.finish_reason, "stop", "finish_reason", choice.at)
    assert_equal(choice.text, stop.before, "text", choice.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS, SEEDS)
def absent_id_no_effect(server: Server) -> None:
    """An id that is not drawn does not change the answer, with a seed at temperature 1."""
    fields = {"temperature": 1, "seed": 11, "logprobs": 1, "return_tokens_as_token_ids": True}
    plain = server.complete(**fields)
    answer = server.complete(**fields, stop_token_ids=absent_ids(plain.choice.logprobs))
    assert_same_choices(plain.choices, answer.choices, "the same answer")


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS, SEEDS)
def special_token_reachable(server: Server) -> None:
    """A special token, which is otherwise masked, can be drawn if it is a stop token."""
    oracle = server.oracle
    logprobs_fields = {"max_tokens": 1, "logprobs": 0, **unique_token_names(server)}
    special = oracle.model.tokenizer.special_ids - set(oracle.model.checkpoint.eos_token_ids)
    params = {"temperature": 2, "stop_token_ids": tuple(sorted(special))}
    fields, token = seeded_request_for(oracle, special, **params)
    unstopped = fields | {"stop_token_ids": ()}
    plain = server.complete(**unstopped | {"stop_token_ids": ...}, **logprobs_fields).choice
    if oracle.token_ids(plain) != [reference_first_token(oracle, **unstopped)]:
        raise Inconclusive("the server's random number generator is not the reference's")
    choice = server.complete(**fields, **logprobs_fields).choice
    assert_equal(oracle.token_ids(choice), [token], "the token drawn", choice.at)
    assert_equal(choice.stop_reason, token, "stop_reason", choice.at)
    assert_equal(choice.text, "", "text", choice.at)


@checks.truth(Level.SHOULD, Evidence.METAMORPHIC, LOGPROBS)
def eos_over_stop_token(server: Server) -> None:
    """A text that ends with the end-of-sequence token has the `stop_reason` null, even if that
    token is a stop token.
    """
    fields, plain = ended_completion(server)
    eos = list(server.oracle.model.checkpoint.eos_token_ids)
    choice = server.complete(**fields, stop_token_ids=eos).choice
    assert_same_choices([plain], [choice], "the same answer")
