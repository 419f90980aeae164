"""return_tokens_as_token_ids: tokens in `logprobs` are called by their ids."""

from conformance.assertions.basic import equal, refused, require, same
from conformance.assertions.end_of_sequence import text_of
from conformance.assertions.token_boundaries import growth
from conformance.harness.capabilities import LOGPROBS, TOKEN_ID, TOKEN_IDS
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import Server
from conformance.oracle.sampling import PROMPTS
from conformance.verdicts import Evidence, Level

ON = {"return_tokens_as_token_ids": True}


@protocol(Level.MUST, Evidence.EXACT)
def wrong_type_is_refused(server: Server) -> None:
    """What is no boolean is a 422 that names the field."""
    refused(server, "return_tokens_as_token_ids", ["perhaps", 2, [True], {}])


@protocol(Level.MUST, Evidence.EXACT, LOGPROBS)
def every_name_is_an_id(server: Server) -> None:
    """All names in `tokens` and in `top_logprobs` read token_id:<id>."""
    for temperature in 0, 2:
        answer = server.ask(max_tokens=6, logprobs=4, temperature=temperature, **ON)
        rows = answer.choice.rows
        names = rows.tokens + [name for top in rows.top for name in top or {}]
        wrong = [name for name in names if not TOKEN_ID.fullmatch(name)]
        require(not wrong, "token_id:<id>", wrong, answer.at)


@protocol(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def null_and_false_are_off(server: Server) -> None:
    """With null or false, or left out, tokens are not called by their ids."""
    answers = [
        server.ask(max_tokens=4, logprobs=2, return_tokens_as_token_ids=value)
        for value in (..., None, False)
    ]
    names = answers[0].choice.rows.tokens
    require(not any(map(TOKEN_ID.fullmatch, names)), "names of text", names, answers[0].at)
    for answer in answers[1:]:
        same(answers[0].choices, answer.choices, "the same answer")


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def only_names_change(server: Server) -> None:
    """Text, reasons and values are those of a request without it."""
    for prompt in PROMPTS[:3]:
        fields = {"prompt": prompt, "logprobs": 4}
        one, other = server.ask(**fields).choice, server.ask(**fields, **ON).choice
        equal(other.text, one.text, "text", other.at)
        equal(other.finish_reason, one.finish_reason, "finish_reason", other.at)
        equal(other.rows.values, one.rows.values, "token_logprobs", other.at)
        values = [[sorted((top or {}).values()) for top in c.rows.top] for c in (one, other)]
        equal(values[1], values[0], "values of top_logprobs", other.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def offsets_are_those_of_the_text(server: Server) -> None:
    """`text_offset` counts characters of the text, not of the names."""
    grown = growth(server)
    answer = server.ask(**grown.asked, logprobs=0, **ON)
    equal(answer.choice.rows.offsets, [0, *grown.ends[:-1]], "text_offset", answer.at)


@truth(Level.MUST, Evidence.EXACT, LOGPROBS, TOKEN_IDS)
def ids_are_the_checkpoints(server: Server) -> None:
    """The ids are those of the model's vocabulary: what they stand for is the text."""
    truth = server.truth
    for prompt in PROMPTS[:3]:
        fields = {"prompt": prompt, "max_tokens": 12, "temperature": 1}
        choice = server.ask(logprobs=0, **fields, **ON).choice
        ids = truth.token_ids(choice)
        within = all(0 <= token < truth.model.vocab_size for token in ids)
        require(within, f"ids below {truth.model.vocab_size}", ids, choice.at)
        expected = text_of(truth, prompt, ids, choice.finish_reason)
        equal(choice.text, expected, f"the text of {ids}", choice.at)
