"""The text of a choice: lossless detokenization, without special tokens."""

from collections.abc import Sequence
from typing import Any

from conformance.assertions.basic import assert_equal, assert_that
from conformance.assertions.end_of_sequence import ended_completion
from conformance.assertions.special_tokens import REPEATING, prompts_before_special_tokens
from conformance.assertions.token_boundaries import REPLACEMENT_CHARACTER
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import LOGPROBS, SEEDS, STREAM
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.oracle.greedy_paths import completion_with_ids
from conformance.oracle.reference_text import reference_text
from conformance.oracle.sampling import fresh_seed
from conformance.verdicts import Evidence, Failed, Inconclusive, Level, NonStrict

checks = CheckGroup("text", spec="tokenizer.detokenizer.Detokenizer")

# Characters that most vocabularies spell byte by byte: a model may continue with more of them.
MULTIBYTE_PROMPT = "日本語の文章です"
MAX_LENGTHS, MAX_UNKNOWN = 2, 8  # tried of each text, to cut it off within a character
ONLY_ASCII = "every text is plain ASCII"


def multibyte_requests(server: Server) -> list[dict[str, Any]]:
    """Return requests whose outputs may have characters of several tokens, or parts of them."""
    fields = {"prompt": MULTIBYTE_PROMPT, "temperature": 2, "max_tokens": 24}
    return [fields | fresh_seed(server) for _ in range(4)]


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def detokenization(server: Server) -> None:
    """The text is the UTF-8 decoding of the bytes of its tokens, however many tokens a character
    spans.
    """
    for prompt in PROMPTS[:4]:
        choice, ids = completion_with_ids(server, prompt=prompt, temperature=2, max_tokens=24)
        expected = reference_text(server.oracle, prompt, ids, choice.finish_reason)
        assert_equal(choice.text, expected, f"the text of {ids}", choice.at)


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def invalid_bytes_replaced(server: Server) -> None:
    """Each maximal invalid sequence of bytes is replaced by one U+FFFD; valid sequences are decoded
    as their characters.
    """
    has_multibyte = False
    for fields in multibyte_requests(server):
        choice, ids = completion_with_ids(server, **fields)
        expected = reference_text(server.oracle, MULTIBYTE_PROMPT, ids, choice.finish_reason)
        assert_equal(choice.text, expected, f"the text of {ids}", choice.at)
        has_multibyte = has_multibyte or not expected.isascii()
    if not has_multibyte:
        raise Inconclusive(ONLY_ASCII)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, STREAM, SEEDS)
def multibyte_characters_streamed(server: Server) -> None:
    """The joined parts of a stream are the text, even if characters span several tokens."""
    has_multibyte = False
    for fields in multibyte_requests(server):
        text, choice = server.complete(**fields).text, server.stream(**fields).completion.choice
        assert_equal(choice.text, text, "the joined parts", choice.at)
        has_multibyte = has_multibyte or not text.isascii()
    if not has_multibyte:
        raise Inconclusive(ONLY_ASCII)


@checks.consistency(Level.MUST, Evidence.EXACT)
def no_lone_surrogates(server: Server) -> None:
    """A text is valid Unicode: it has no lone surrogate."""
    for fields in multibyte_requests(server):
        answer = server.complete(**fields)
        surrogates = [c for c in answer.text if 0xD800 <= ord(c) <= 0xDFFF]
        assert_that(not surrogates, "no surrogates", surrogates, answer.at)


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def leading_space_kept(server: Server) -> None:
    """If the first token of the output begins with a space, so does the text."""
    has_leading_space = False
    for prompt in PROMPTS:
        choice, ids = completion_with_ids(server, prompt=prompt, max_tokens=2)
        expected = reference_text(server.oracle, prompt, ids, choice.finish_reason)
        has_leading_space = has_leading_space or expected.startswith(" ")
        if expected.startswith(" ") and choice.text == expected[1:]:
            note = "the leading space is stripped"
            raise NonStrict(f"{expected!r}", repr(choice.text), note=note, at=choice.at)
        assert_equal(choice.text, expected, f"the text of {ids}", choice.at)
    if not has_leading_space:
        raise Inconclusive("no output begins with a space")


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def special_tokens_not_sampled(server: Server) -> None:
    """A special token other than an end-of-sequence token is not sampled, whatever its
    probability.
    """
    eos_token_ids = server.oracle.model.checkpoint.eos_token_ids
    disallowed = server.oracle.special_ids - set(eos_token_ids)
    prompts = prompts_before_special_tokens(server.oracle, disallowed)
    for prompt, _ in prompts:
        choice, ids = completion_with_ids(server, prompt=prompt, max_tokens=1, **REPEATING)
        sampled = sorted(disallowed & set(ids))
        assert_that(not sampled, "no special token", sampled, choice.at)
    if not prompts:
        raise Inconclusive("no tried prompt makes a special token the argmax")


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS, spec="stopping.finish")
def eos_not_in_text(server: Server) -> None:
    """A text that ends with an end-of-sequence token has finish_reason stop and stop_reason null;
    the token is not in the text, but it is counted and has a logprobs entry.
    """
    fields, choice = ended_completion(server)
    oracle, answer = server.oracle, server.complete(**fields)
    ids = oracle.token_ids(answer.choice, fields["prompt"])
    choice = answer.choice
    eos_token_ids = oracle.model.checkpoint.eos_token_ids
    if choice.finish_reason != "stop" or ids[-1:] != [i for i in ids[-1:] if i in eos_token_ids]:
        expected = f"a last token of {list(eos_token_ids)}, and stop"
        raise Failed(expected, f"{ids}", at=answer.at)
    assert_equal(
        choice.text, reference_text(oracle, fields["prompt"], ids, "stop"), "text", answer.at
    )
    assert_equal(choice.stop_reason, None, "stop_reason", answer.at)
    assert_equal(answer.completion_tokens, len(ids), "completion_tokens", answer.at)


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def incomplete_character_replaced(server: Server) -> None:
    """A text that is cut off within a character ends with U+FFFD in its place."""
    has_incomplete = False
    for fields in multibyte_requests(server):
        for count in incomplete_lengths(server, fields):
            choice, ids = completion_with_ids(server, **fields | {"max_tokens": count})
            expected = reference_text(server.oracle, MULTIBYTE_PROMPT, ids, choice.finish_reason)
            assert_equal(choice.text, expected, f"the text of {ids}", choice.at)
            has_incomplete = has_incomplete or expected.endswith(REPLACEMENT_CHARACTER)
    if not has_incomplete:
        raise Inconclusive("no text was cut off within a character")


def incomplete_lengths(server: Server, fields: dict[str, Any]) -> Sequence[int]:
    """Return the numbers of tokens after which the text ends within a character.

    Without a seed the text is not known: any number may do.
    """
    if "seed" not in fields:
        return range(1, MAX_UNKNOWN + 1)
    _, ids = completion_with_ids(server, **fields)
    counts = range(1, len(ids) + 1)
    prefixes = (
        (i, reference_text(server.oracle, MULTIBYTE_PROMPT, ids[:i], "length")) for i in counts
    )
    return [i for i, text in prefixes if text.endswith(REPLACEMENT_CHARACTER)][:MAX_LENGTHS]
