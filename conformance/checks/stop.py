"""stop: strings that end the text."""

from conformance.assertions.basic import (
    assert_accepted,
    assert_equal,
    assert_rejected,
    assert_same_completion,
    assert_that,
)
from conformance.assertions.special_tokens import (
    REPEATING,
    prompts_before_special_tokens,
    token_name,
)
from conformance.assertions.token_boundaries import ABSENT_TEXT, TokenBoundaries, token_boundaries
from conformance.harness.capabilities import LOGPROBS, STREAM, unique_token_names
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.verdicts import Evidence, Failed, Inconclusive, Level, NonStrict

checks = CheckGroup("stop")

MAX_STRINGS = 16


@checks.protocol(Level.MUST, Evidence.EXACT)
def too_many_strings_422(server: Server) -> None:
    """A list of more than 16 strings is a 422 that names the field."""
    assert_rejected(server, "stop", [absent_strings(MAX_STRINGS + 1)])


@checks.protocol(Level.MUST, Evidence.EXACT)
def empty_string_422(server: Server) -> None:
    """An empty string, alone or in a list, is a 422 that names the field."""
    assert_rejected(server, "stop", ["", [""], [ABSENT_TEXT, ""]])


@checks.protocol(Level.MUST, Evidence.EXACT)
def sixteen_strings_accepted(server: Server) -> None:
    """A list of 16 strings is accepted, and so are a single string, an empty list and null."""
    assert_accepted(
        server, "stop", [absent_strings(MAX_STRINGS), ABSENT_TEXT, [ABSENT_TEXT], [], None]
    )


def absent_strings(count: int) -> list[str]:
    """Return strings that do not occur in any output."""
    return [f"{ABSENT_TEXT}{i}" for i in range(count)]


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def text_ends_before_match(server: Server) -> None:
    """The text ends before the stop string, even if the string spans two tokens, and
    `finish_reason` is stop.
    """
    boundaries = token_boundaries(server)
    for start, end in boundaries.spans_across_tokens():
        answer = server.complete(**boundaries.fields, stop=[boundaries.text[start:end]])
        assert_equal(answer.text, boundaries.text[:start], "text", answer.at)
        assert_equal(answer.choice.finish_reason, "stop", "finish_reason", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def string_equals_one_item_list(server: Server) -> None:
    """A string means the list that contains only this string."""
    boundaries = token_boundaries(server)
    start, end = boundaries.spans_across_tokens()[0]
    stop = boundaries.text[start:end]
    from_list, from_string = (server.complete(**boundaries.fields, stop=s) for s in ([stop], stop))
    assert_same_completion(from_list, from_string, "the answer to a list of one")
    assert_equal(from_string.text, boundaries.text[:start], "text", from_string.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def any_list_item_stops(server: Server) -> None:
    """The last of 16 strings ends the text just like the first."""
    boundaries = token_boundaries(server)
    start, end = boundaries.spans_across_tokens()[0]
    stops = [*absent_strings(MAX_STRINGS - 1), boundaries.text[start:end]]
    answer = server.complete(**boundaries.fields, stop=stops)
    assert_equal(answer.text, boundaries.text[:start], "text", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def stop_reason_is_string(server: Server) -> None:
    """`stop_reason` is the stop string that ended the text, and null if none did."""
    boundaries = token_boundaries(server)
    for start, end in boundaries.spans_across_tokens():
        stop = boundaries.text[start:end]
        answer = server.complete(**boundaries.fields, stop=[ABSENT_TEXT, stop])
        assert_equal(answer.choice.stop_reason, stop, "stop_reason", answer.at)
    answer = server.complete(**boundaries.fields, stop=[ABSENT_TEXT])
    assert_equal(answer.choice.stop_reason, None, "stop_reason", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def earliest_completed_match(server: Server) -> None:
    """If one token completes overlapping matches, the match that is complete first ends the text,
    even if another match begins before it or precedes it in the list.
    """
    boundaries = token_boundaries(server)
    text = boundaries.text
    for start, end, inner_start, inner_end in boundaries.nested_spans():
        outer, inner = text[start:end], text[inner_start:inner_end]
        for stops in [outer, inner], [inner, outer]:
            answer = server.complete(**boundaries.fields, stop=stops)
            expected = f"the text to end before {inner!r}: {text[:inner_start]!r}"
            assert_that(answer.text == text[:inner_start], expected, answer.text, answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def list_order_breaks_ties(server: Server) -> None:
    """If two matches are complete at the same character, the first in the list ends the text."""
    boundaries = token_boundaries(server)
    for start, end, inner_start, _ in boundaries.nested_spans():
        longer, shorter = boundaries.text[start:end], boundaries.text[inner_start:end]
        for stops, expected in ([longer, shorter], start), ([shorter, longer], inner_start):
            answer = server.complete(**boundaries.fields, stop=stops)
            assert_equal(answer.text, boundaries.text[:expected], "text", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def near_miss_unchanged(server: Server) -> None:
    """Strings that do not occur leave the answer unchanged, even if the text contains the beginning
    of one, within it or at its end.
    """
    boundaries = token_boundaries(server)
    plain = server.complete(**boundaries.fields)
    for stop in near_misses(boundaries):
        answer = server.complete(**boundaries.fields, stop=[stop])
        assert_same_completion(plain, answer, f"the same answer with stop {stop!r}")


def near_misses(boundaries: TokenBoundaries) -> list[str]:
    """Return strings whose beginnings are at the end of the text or within it, and one whose first
    character does not occur.
    """
    text = boundaries.text
    prefixes = [text[-1:], text[-3:], *(text[a:b] for a, b in boundaries.spans_across_tokens())]
    return [prefix + ABSENT_TEXT for prefix in prefixes] + [ABSENT_TEXT]


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def stop_beats_length(server: Server) -> None:
    """A stop string that the last token within max_tokens completes ends the text, with the
    finish_reason stop.
    """
    boundaries = token_boundaries(server)
    for start, end in boundaries.spans_across_tokens():
        count, stop = boundaries.num_tokens(end), boundaries.text[start:end]
        answer = server.complete(prompt=boundaries.prompt, max_tokens=count, stop=[stop])
        assert_equal(answer.choice.finish_reason, "stop", "finish_reason", answer.at)
        assert_equal(answer.text, boundaries.text[:start], "text", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def matched_tokens_counted(server: Server) -> None:
    """completion_tokens counts every generated token, including those of the match, and none after
    it.
    """
    boundaries = token_boundaries(server)
    for start, end in boundaries.spans_across_tokens():
        answer = server.complete(**boundaries.fields, stop=[boundaries.text[start:end]])
        expected = boundaries.num_tokens(end)
        assert_equal(answer.completion_tokens, expected, "completion_tokens", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def matched_tokens_in_logprobs(server: Server) -> None:
    """`logprobs` has an entry for every generated token, including those of the match; tokens after
    the end of the text have its length as their offset.
    """
    boundaries = token_boundaries(server)
    unstopped = server.complete(**boundaries.fields, logprobs=1).choice.logprobs
    for start, end in boundaries.spans_across_tokens():
        count, stop = boundaries.num_tokens(end), boundaries.text[start:end]
        choice = server.complete(**boundaries.fields, logprobs=1, stop=[stop]).choice
        assert_equal(choice.logprobs.tokens, unstopped.tokens[:count], "tokens", choice.at)
        offsets = [min(offset, start) for offset in unstopped.offsets[:count]]
        assert_equal(choice.logprobs.offsets, offsets, "text_offset", choice.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, STREAM)
def match_not_streamed(server: Server) -> None:
    """The joined parts of a stream are the text before the match: no character of the match is
    sent at any time.
    """
    boundaries = token_boundaries(server)
    for start, end in boundaries.spans_across_tokens():
        stop = boundaries.text[start:end]
        choice = server.stream(**boundaries.fields, stop=[stop]).completion.choice
        assert_equal(choice.text, boundaries.text[:start], f"the parts before {stop!r}", choice.at)
        assert_equal(choice.finish_reason, "stop", "finish_reason", choice.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, STREAM)
def withheld_text_flushed(server: Server) -> None:
    """Text that was withheld because it could become a match is sent once it cannot."""
    boundaries = token_boundaries(server)
    for stop in near_misses(boundaries):
        stream = server.stream(**boundaries.fields, stop=[stop])
        assert_equal(
            stream.completion.text, boundaries.text, f"with stop {stop!r} the parts", stream.at
        )


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, STREAM)
def minimal_hold_back(server: Server) -> None:
    """A stop string whose first character is not in the text does not delay any text."""
    boundaries = token_boundaries(server)
    plain = streamed_texts(server, boundaries)
    if len(plain) < 2:
        raise Inconclusive("the server sends its text in one part")
    delayed = streamed_texts(server, boundaries, stop=[ABSENT_TEXT * (len(boundaries.text) + 1)])
    if len(delayed) < 2:
        note = "the length of the longest stop string is withheld"
        raise NonStrict(f"{plain}", f"{delayed}", note=note, at=server.last)
    if len(delayed[0]) > len(plain[0]):
        raise Failed(f"{plain}", f"{delayed}", at=server.last)


def streamed_texts(server: Server, boundaries: TokenBoundaries, **fields: object) -> list[str]:
    """Return the texts of a stream's events that have any."""
    parts = server.stream(**boundaries.fields, **fields).parts
    return [part["text"] for part in parts if part.get("text")]


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def special_token_name_stops(server: Server) -> None:
    """A stop string that is exactly the text of a special token ends the text at that token, which
    is otherwise masked; the token is counted and has a logprobs entry, but is not in the text.
    """
    oracle = server.oracle
    special = oracle.special_ids - set(oracle.model.checkpoint.eos_token_ids)
    prompts = prompts_before_special_tokens(oracle, special)
    for prompt, token in prompts:
        stop = token_name(oracle, token)
        fields = {"prompt": prompt, "max_tokens": 2, "logprobs": 0, **REPEATING}
        answer = server.complete(**fields, stop=[ABSENT_TEXT, stop], **unique_token_names(server))
        choice = answer.choice
        assert_equal(oracle.token_ids(choice), [token], "the tokens", choice.at)
        assert_equal(choice.text, "", "text", choice.at)
        assert_equal(choice.stop_reason, stop, "stop_reason", choice.at)
        assert_equal(answer.completion_tokens, 1, "completion_tokens", choice.at)
    if not prompts:
        raise Inconclusive("no tried prompt makes a special token the argmax")
