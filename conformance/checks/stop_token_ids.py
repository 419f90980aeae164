"""stop_token_ids: tokens that end the text."""

from dataclasses import dataclass

from conformance.assertions.basic import accepted, equal, refused, same
from conformance.assertions.end_of_sequence import drawing, ended, first_token
from conformance.assertions.next_token import naming
from conformance.assertions.token_boundaries import growth
from conformance.harness.capabilities import LOGPROBS, SEEDS, TOKEN_ID, TOKEN_IDS
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import Server
from conformance.http.response import Rows
from conformance.verdicts import Evidence, Inconclusive, Level

BEYOND = 2**31  # more than any vocabulary has


@protocol(Level.MUST, Evidence.EXACT)
def outside_the_vocabulary_is_refused(server: Server) -> None:
    """An id that the model does not have is a 422 that names the field."""
    refused(server, "stop_token_ids", [[-1], [BEYOND], [5, -1]])


@protocol(Level.MUST, Evidence.EXACT)
def wrong_type_is_refused(server: Server) -> None:
    """What is no list of integers is a 422 that names the field."""
    refused(server, "stop_token_ids", [5, "5", ["five"], [1.5], [None], {}])


@protocol(Level.MUST, Evidence.EXACT)
def a_list_or_null_is_accepted(server: Server) -> None:
    """A list of ids is accepted, and so are an empty one and null."""
    accepted(server, "stop_token_ids", [[5], [5, 6, 7], [], None])


@dataclass(frozen=True)
class Ending:
    """A token of a greedy text that has not come before in it. count: how many tokens there are
    with it. before: the text up to it. rows: those of the whole text.
    """

    prompt: str
    id: int
    count: int
    before: str
    rows: Rows


def ending(server: Server) -> Ending:
    """Of the text that grows with each of its tokens."""
    grown = growth(server)
    fields = {"logprobs": 1, "return_tokens_as_token_ids": True}
    rows = server.ask(**grown.asked, **fields).choice.rows
    for i in range(2, len(rows.tokens)):
        match = TOKEN_ID.fullmatch(rows.tokens[i])
        if match and rows.tokens[i] not in rows.tokens[:i]:
            before = grown.text[: grown.ends[i - 1]]
            return Ending(grown.prompt, int(match[1]), i + 1, before, rows)
    raise Inconclusive("the text says again what it has said")


def absent(rows: Rows) -> list[int]:
    """Ids that are not in a text, of the first that are no special tokens in most vocabularies."""
    found = [i for i in range(3, 10) if f"token_id:{i}" not in rows.tokens]
    if not found:
        raise Inconclusive("all ids tried are in the text")
    return found


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def the_text_ends_before_the_token(server: Server) -> None:
    """The text ends before the stop token, which is no part of it; `finish_reason` is stop."""
    end = ending(server)
    for ids in [end.id], [*absent(end.rows), end.id]:
        answer = server.ask(prompt=end.prompt, stop_token_ids=ids)
        equal(answer.text, end.before, "text", answer.at)
        equal(answer.choice.finish_reason, "stop", "finish_reason", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def the_reason_is_the_id(server: Server) -> None:
    """`stop_reason` is the id of the token that ended the text, a number."""
    end = ending(server)
    choice = server.ask(prompt=end.prompt, stop_token_ids=[end.id]).choice
    equal(choice.stop_reason, end.id, "stop_reason", choice.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def the_token_is_counted(server: Server) -> None:
    """completion_tokens counts the stop token."""
    end = ending(server)
    answer = server.ask(prompt=end.prompt, stop_token_ids=[end.id])
    equal(answer.completion_tokens, end.count, "completion_tokens", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def the_token_has_a_row(server: Server) -> None:
    """`logprobs` has a row for the stop token, at the end of the text."""
    end = ending(server)
    fields = {"logprobs": 1, "return_tokens_as_token_ids": True}
    choice = server.ask(prompt=end.prompt, stop_token_ids=[end.id], **fields).choice
    equal(choice.rows.tokens, end.rows.tokens[: end.count], "tokens", choice.at)
    equal(choice.rows.offsets[-1], len(end.before), "the last offset", choice.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS)
def on_the_last_token_stop_beats_length(server: Server) -> None:
    """If the last token that was allowed is a stop token, the reason is stop."""
    end = ending(server)
    choice = server.ask(prompt=end.prompt, max_tokens=end.count, stop_token_ids=[end.id]).choice
    equal(choice.finish_reason, "stop", "finish_reason", choice.at)
    equal(choice.text, end.before, "text", choice.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS, TOKEN_IDS, SEEDS)
def an_id_that_does_not_come_changes_nothing(server: Server) -> None:
    """An id that is not drawn leaves the answer as it is, with a seed at temperature 1."""
    fields = {"temperature": 1, "seed": 11, "logprobs": 1, "return_tokens_as_token_ids": True}
    plain = server.ask(**fields)
    answer = server.ask(**fields, stop_token_ids=absent(plain.choice.rows))
    same(plain.choices, answer.choices, "the same answer")


@truth(Level.MUST, Evidence.EXACT, LOGPROBS, SEEDS)
def a_special_token_stays_within_reach(server: Server) -> None:
    """A special token, which else is never drawn, may be drawn if it is a stop token."""
    truth, rows = server.truth, {"max_tokens": 1, "logprobs": 0, **naming(server)}
    special = truth.model.tokenizer.special_ids - set(truth.model.checkpoint.eos_token_ids)
    params = {"temperature": 2, "stop_token_ids": tuple(sorted(special))}
    asked, token = drawing(truth, special, **params)
    without = asked | {"stop_token_ids": ()}
    plain = server.ask(**without | {"stop_token_ids": ...}, **rows).choice
    if truth.token_ids(plain) != [first_token(truth, **without)]:
        raise Inconclusive("the server's chance is another than the reference's")
    choice = server.ask(**asked, **rows).choice
    equal(truth.token_ids(choice), [token], "the token drawn", choice.at)
    equal(choice.stop_reason, token, "stop_reason", choice.at)
    equal(choice.text, "", "text", choice.at)


@truth(Level.SHOULD, Evidence.METAMORPHIC, LOGPROBS)
def end_of_sequence_comes_before_a_stop_token(server: Server) -> None:
    """A text that comes to its end does so with `stop_reason` null, though the token that ends it
    is a stop token, too.
    """
    fields, plain = ended(server)
    ends = list(server.truth.model.checkpoint.eos_token_ids)
    choice = server.ask(**fields, stop_token_ids=ends).choice
    same([plain], [choice], "the same answer")
