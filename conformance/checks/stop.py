"""stop: strings that end the text."""

from conformance.assertions.basic import accepted, equal, refused, require, same_answer
from conformance.assertions.token_boundaries import MARK, Growth, growth
from conformance.harness.capabilities import LOGPROBS, STREAM
from conformance.harness.registry import consistency, protocol
from conformance.http.client import Server
from conformance.verdicts import Evidence, Failed, Inconclusive, Level, NonStrict

MOST = 16


@protocol(Level.MUST, Evidence.EXACT)
def more_than_sixteen_are_refused(server: Server) -> None:
    """A list of more than 16 strings is a 422 that names the field."""
    refused(server, "stop", [never(MOST + 1)])


@protocol(Level.MUST, Evidence.EXACT)
def an_empty_string_is_refused(server: Server) -> None:
    """An empty string, alone or in a list, is a 422 that names the field."""
    refused(server, "stop", ["", [""], [MARK, ""]])


@protocol(Level.MUST, Evidence.EXACT)
def wrong_type_is_refused(server: Server) -> None:
    """What is neither a string nor a list of strings is a 422 that names the field."""
    refused(server, "stop", [5, True, {"a": "b"}, [5], [None]])


@protocol(Level.MUST, Evidence.EXACT)
def up_to_sixteen_are_accepted(server: Server) -> None:
    """16 strings are accepted, and so are one, an empty list and null."""
    accepted(server, "stop", [never(MOST), MARK, [MARK], [], None])


def never(count: int) -> list[str]:
    """Strings that do not come."""
    return [f"{MARK}{i}" for i in range(count)]


@consistency(Level.MUST, Evidence.METAMORPHIC)
def the_text_ends_before_the_match(server: Server) -> None:
    """The text ends before the stop string, also where that spans two tokens, and `finish_reason`
    is stop.
    """
    grown = growth(server)
    for start, end in grown.across():
        answer = server.ask(**grown.asked, stop=[grown.text[start:end]])
        equal(answer.text, grown.text[:start], "text", answer.at)
        equal(answer.choice.finish_reason, "stop", "finish_reason", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def one_string_is_a_list_of_one(server: Server) -> None:
    """A string means the list that has it alone."""
    grown = growth(server)
    start, end = grown.across()[0]
    stop = grown.text[start:end]
    one, other = (server.ask(**grown.asked, stop=s) for s in ([stop], stop))
    same_answer(one, other, "the answer to a list of one")
    equal(other.text, grown.text[:start], "text", other.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def any_string_of_the_list_ends(server: Server) -> None:
    """The last of 16 strings ends the text as well as the first."""
    grown = growth(server)
    start, end = grown.across()[0]
    answer = server.ask(**grown.asked, stop=[*never(MOST - 1), grown.text[start:end]])
    equal(answer.text, grown.text[:start], "text", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def the_reason_is_the_string(server: Server) -> None:
    """`stop_reason` is the stop string that ended the text, and null if none did."""
    grown = growth(server)
    for start, end in grown.across():
        stop = grown.text[start:end]
        answer = server.ask(**grown.asked, stop=[MARK, stop])
        equal(answer.choice.stop_reason, stop, "stop_reason", answer.at)
    answer = server.ask(**grown.asked, stop=[MARK])
    equal(answer.choice.stop_reason, None, "stop_reason", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def the_match_that_completes_first_wins(server: Server) -> None:
    """Of overlapping matches that one token completes, the one that is complete first ends the
    text, though another begins before it or stands before it in the list.
    """
    grown = growth(server)
    for start, end, inner_start, inner_end in grown.nested():
        outer, inner = grown.text[start:end], grown.text[inner_start:inner_end]
        for stops in [outer, inner], [inner, outer]:
            answer = server.ask(**grown.asked, stop=stops)
            expected = f"the text to end before {inner!r}: {grown.text[:inner_start]!r}"
            require(answer.text == grown.text[:inner_start], expected, answer.text, answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def the_order_of_the_list_decides_a_tie(server: Server) -> None:
    """Of matches that are complete at the same character the first in the list ends the text."""
    grown = growth(server)
    for start, end, shorter, _ in grown.nested():
        one, other = grown.text[start:end], grown.text[shorter:end]
        for stops, expected in ([one, other], start), ([other, one], shorter):
            answer = server.ask(**grown.asked, stop=stops)
            equal(answer.text, grown.text[:expected], "text", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def what_does_not_match_changes_nothing(server: Server) -> None:
    """Strings that do not come, though the text has their beginnings, within it or at its end,
    leave the answer as it is.
    """
    grown = growth(server)
    plain = server.ask(**grown.asked)
    for stop in near_misses(grown):
        answer = server.ask(**grown.asked, stop=[stop])
        same_answer(plain, answer, f"the same answer with stop {stop!r}")


def near_misses(grown: Growth) -> list[str]:
    """What the text has the beginning of, at its end or within it; and what is nowhere in it."""
    starts = [grown.text[-1:], grown.text[-3:], *(grown.text[a:b] for a, b in grown.across())]
    return [start + MARK for start in starts] + [MARK]


@consistency(Level.MUST, Evidence.METAMORPHIC)
def on_the_last_token_stop_beats_length(server: Server) -> None:
    """A stop string that is complete with the last token that was allowed ends the text, and the
    reason is stop.
    """
    grown = growth(server)
    for start, end in grown.across():
        count = grown.tokens(end)
        answer = server.ask(prompt=grown.prompt, max_tokens=count, stop=[grown.text[start:end]])
        equal(answer.choice.finish_reason, "stop", "finish_reason", answer.at)
        equal(answer.text, grown.text[:start], "text", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def tokens_of_the_match_are_counted(server: Server) -> None:
    """completion_tokens counts every token that was generated, those of the match too, and none
    after it.
    """
    grown = growth(server)
    for start, end in grown.across():
        answer = server.ask(**grown.asked, stop=[grown.text[start:end]])
        equal(answer.completion_tokens, grown.tokens(end), "completion_tokens", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def tokens_of_the_match_have_rows(server: Server) -> None:
    """`logprobs` has a row for every token that was generated, those of the match too; the offset
    of what is no text is where the text ends.
    """
    grown = growth(server)
    rows = server.ask(**grown.asked, logprobs=1).choice.rows
    for start, end in grown.across():
        count, stop = grown.tokens(end), grown.text[start:end]
        choice = server.ask(**grown.asked, logprobs=1, stop=[stop]).choice
        equal(choice.rows.tokens, rows.tokens[:count], "tokens", choice.at)
        offsets = [min(offset, start) for offset in rows.offsets[:count]]
        equal(choice.rows.offsets, offsets, "text_offset", choice.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, STREAM)
def no_part_of_a_match_is_streamed(server: Server) -> None:
    """The pieces of a stream add up to the text before the match at every moment: no character of
    the match is sent.
    """
    grown = growth(server)
    for start, end in grown.across():
        stop = grown.text[start:end]
        choice = server.stream(**grown.asked, stop=[stop]).answer.choice
        equal(choice.text, grown.text[:start], f"pieces before {stop!r}", choice.at)
        equal(choice.finish_reason, "stop", "finish_reason", choice.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, STREAM)
def what_was_held_back_arrives(server: Server) -> None:
    """What could have become a match, and did not, is sent."""
    grown = growth(server)
    for stop in near_misses(grown):
        stream = server.stream(**grown.asked, stop=[stop])
        equal(stream.answer.text, grown.text, f"with stop {stop!r} the pieces", stream.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, STREAM)
def only_what_could_match_is_held_back(server: Server) -> None:
    """A stop string of which the text has not even the first character holds nothing back."""
    grown = growth(server)
    plain = pieces(server, grown)
    if len(plain) < 2:
        raise Inconclusive("the server sends its text in one piece")
    held = pieces(server, grown, stop=[MARK * (len(grown.text) + 1)])
    if len(held) < 2:
        window = "as much is held back as the longest stop string has"
        raise NonStrict(f"{plain}", f"{held}", note=window, at=server.last)
    if len(held[0]) > len(plain[0]):
        raise Failed(f"{plain}", f"{held}", at=server.last)


def pieces(server: Server, grown: Growth, **fields: object) -> list[str]:
    """The texts of a stream's events, but for those without text."""
    parts = server.stream(**grown.asked, **fields).parts
    return [part["text"] for part in parts if part.get("text")]
