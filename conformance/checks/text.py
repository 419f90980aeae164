"""From tokens to text: nothing is lost, and nothing is there that is no text."""

from typing import Any

import numpy as np

from conformance.assertions.basic import equal, require
from conformance.assertions.end_of_sequence import ended, text_of
from conformance.assertions.token_boundaries import UNREADABLE
from conformance.harness.capabilities import LOGPROBS, SEEDS, STREAM
from conformance.harness.registry import consistency, truth
from conformance.http.client import Server
from conformance.oracle.dialects import NAMES, chain
from conformance.oracle.greedy_paths import CLEARLY, output_of
from conformance.oracle.sampling import PROMPTS
from conformance.oracle.truth import Truth
from conformance.verdicts import Evidence, Failed, Inconclusive, Level, NonStrict

RESTS_ON = "tokenizer.detokenizer.Detokenizer"

# Characters that most vocabularies spell byte by byte: a model may go on with such.
MANY_BYTES = "日本語の文章です"
TOLD = "no text has more than ASCII in it"


def of_many_bytes(server: Server) -> list[dict[str, Any]]:
    """Requests whose texts may have such characters, or parts of them."""
    seeds = [server.rng.getrandbits(31) for _ in range(4)]
    asked = {"prompt": MANY_BYTES, "temperature": 2, "max_tokens": 24}
    return [{**asked, "seed": seed} for seed in seeds]


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def is_what_its_tokens_spell(server: Server) -> None:
    """The text is what the bytes of the tokens spell in UTF-8, in whatever tokens a character
    comes.
    """
    for prompt in PROMPTS[:4]:
        choice, ids = output_of(server, prompt=prompt, temperature=2, max_tokens=24)
        expected = text_of(server.truth, prompt, ids, choice.finish_reason)
        equal(choice.text, expected, f"the text of {ids}", choice.at)


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def what_is_no_character_is_replaced(server: Server) -> None:
    """Bytes that are no character are written U+FFFD, once for each longest beginning of one; those
    that are one are that character.
    """
    told = False
    for fields in of_many_bytes(server):
        choice, ids = output_of(server, **fields)
        expected = text_of(server.truth, MANY_BYTES, ids, choice.finish_reason)
        equal(choice.text, expected, f"the text of {ids}", choice.at)
        told = told or not expected.isascii()
    if not told:
        raise Inconclusive(TOLD)


@consistency(Level.MUST, Evidence.METAMORPHIC, STREAM, SEEDS)
def a_stream_keeps_characters_whole(server: Server) -> None:
    """The pieces of a stream add up to the text, where characters come in several tokens."""
    told = False
    for fields in of_many_bytes(server):
        whole, choice = server.ask(**fields).text, server.stream(**fields).answer.choice
        equal(choice.text, whole, "the pieces, joined", choice.at)
        told = told or not whole.isascii()
    if not told:
        raise Inconclusive(TOLD)


@consistency(Level.MUST, Evidence.EXACT)
def has_no_half_characters(server: Server) -> None:
    """A text is Unicode: no surrogate stands alone in it."""
    for fields in of_many_bytes(server):
        answer = server.ask(**fields)
        half = [c for c in answer.text if 0xD800 <= ord(c) <= 0xDFFF]
        require(not half, "no surrogates", half, answer.at)


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def the_space_before_the_output_is_kept(server: Server) -> None:
    """If the first token of the output begins with a space, so does the text."""
    told = False
    for prompt in PROMPTS:
        choice, ids = output_of(server, prompt=prompt, max_tokens=2)
        expected = text_of(server.truth, prompt, ids, choice.finish_reason)
        told = told or expected.startswith(" ")
        if expected.startswith(" ") and choice.text == expected[1:]:
            note = "the leading space is taken away"
            raise NonStrict(f"{expected!r}", repr(choice.text), note=note, at=choice.at)
        equal(choice.text, expected, f"the text of {ids}", choice.at)
    if not told:
        raise Inconclusive("no output of those tried begins with a space")


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def special_tokens_are_never_drawn(server: Server) -> None:
    """A special token that does not end the text is never drawn, however likely it is."""
    model = server.truth.model
    never = server.truth.special - set(model.checkpoint.eos_token_ids)
    told = False
    for prompt in after_special(server.truth, never):
        told = True
        choice, ids = output_of(server, prompt=prompt, max_tokens=1, **REPEATING)
        require(not never & set(ids), "no special token", sorted(never & set(ids)), choice.at)
    if not told:
        raise Inconclusive("no prompt that was tried makes a special token the likeliest")


# What is in the prompt becomes likelier by far, and is drawn if it is the likeliest.
REPEATING = {"temperature": 0, "repetition_penalty": 0.01}


def after_special(truth: Truth, never: frozenset[int]) -> list[str]:
    """Prompts, three at most, after which one of the tokens in `never` is clearly the likeliest,
    but that it may not be drawn.
    """
    if_allowed = chain(NAMES[1:])
    names = [truth.model.tokenizer.piece(token).decode() for token in sorted(never)[:8]]
    found: list[str] = []
    for prompt in (text + name for text in ("", *PROMPTS) for name in names):
        step = truth.first(prompt, REPEATING)
        scores = if_allowed(step.logits, step.history)
        others = np.delete(scores, list(never))
        if scores[list(never)].max() > others.max() + CLEARLY:
            found.append(prompt)
        if len(found) == 3:
            break
    return found


@truth(Level.MUST, Evidence.EXACT, LOGPROBS, rests_on="stopping.finish")
def end_of_sequence_is_no_text(server: Server) -> None:
    """A text that comes to its end has finish_reason stop and stop_reason null; the token that ends
    it is no part of it, is counted, and has a row.
    """
    fields, choice = ended(server)
    truth, answer = server.truth, server.ask(**fields)
    ids, choice = truth.token_ids(answer.choice), answer.choice
    ends = truth.model.checkpoint.eos_token_ids
    if choice.finish_reason != "stop" or ids[-1:] != [i for i in ids[-1:] if i in ends]:
        raise Failed(f"a last row of {list(ends)}, and stop", f"{ids}", at=answer.at)
    equal(choice.text, text_of(truth, fields["prompt"], ids, "stop"), "text", answer.at)
    equal(choice.stop_reason, None, "stop_reason", answer.at)
    equal(answer.completion_tokens, len(ids), "completion_tokens", answer.at)


@truth(Level.MUST, Evidence.EXACT, LOGPROBS, SEEDS)
def an_unfinished_character_ends_a_text(server: Server) -> None:
    """Cut off within a character, the text ends with U+FFFD in its place."""
    told = False
    for fields in of_many_bytes(server):
        _, ids = output_of(server, **fields)
        for count in cuts(server.truth, ids)[:2]:
            choice, ids = output_of(server, **fields | {"max_tokens": count})
            expected = text_of(server.truth, MANY_BYTES, ids, choice.finish_reason)
            equal(choice.text, expected, f"the text of {ids}", choice.at)
            told = told or expected.endswith(UNREADABLE)
    if not told:
        raise Inconclusive("no text was cut off within a character")


def cuts(truth: Truth, ids: list[int]) -> list[int]:
    """After how many tokens a text ends within a character."""
    parts = ((i, text_of(truth, MANY_BYTES, ids[:i], "length")) for i in range(1, len(ids) + 1))
    return [i for i, text in parts if text.endswith(UNREADABLE)]
