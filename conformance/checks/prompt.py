"""prompt: what the model reads before it writes."""

from collections.abc import Sequence
from typing import Any

from conformance.assertions.basic import (
    equal,
    error_of,
    names_field,
    refused,
    require,
    same,
)
from conformance.harness.capabilities import (
    CONTEXT,
    ECHO,
    ECHOED_ROWS,
    LOGPROBS,
    PROMPT_IDS,
    PROMPT_LISTS,
    SEEDS,
    SEVERAL,
    TOKEN_ID,
    TOKEN_IDS,
    context_length,
    has,
)
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import PROMPT, Server
from conformance.http.response import Answer
from conformance.verdicts import Broken, Evidence, Inconclusive, Level

RESTS_ON = "prompt.prompt_ids"

WRONG: tuple[Any, ...] = (
    None,
    3,
    True,
    {"text": "a"},
    [],
    [[]],
    [1.5],
    [None],
    ["a", 5],
    [5, "a"],
    [[5], "a"],
)
NO_IDS = (-1, 2**31 - 1, 2**31, 2**63, -(2**70))
LONG = 200_000  # more tokens than a context has, if nobody says how many those are
RARE = "\ua66e "  # a letter of one old book: tokenizers have no token of several
PROMPTS = (PROMPT, "The", "List three toys.\n1.")

# Each loses something in a tokenizer, or on the way to it, that is not careful.
ODD = (
    " one space before",
    "   three",
    "trailing  ",
    "\n\n\ttab and line\r\n",
    "It 's not , do n't",
    "é e\u0301 ﬁ ½",
    "漢字 ελληνικά العربية",
    "😀👩‍👩‍👧 \U0001f1f8\U0001f1ea",
    '{"a": "b\\n"} <b>&amp;</b> %20',
    "zero\u200bwidth\u00a0space",
)


@protocol(Level.MUST, Evidence.EXACT)
def missing_is_refused(server: Server) -> None:
    """A request without a prompt is a 422 that names the field."""
    names_field(server.post(prompt=...), "prompt")


@protocol(Level.MUST, Evidence.EXACT)
def wrong_types_are_refused(server: Server) -> None:
    """What is no text, no list of token ids, and no list of either, or is a list of nothing, is a
    422 that names the field.
    """
    refused(server, "prompt", WRONG)


@protocol(Level.MUST, Evidence.EXACT)
def ids_are_taken_as_they_are(server: Server) -> None:
    """A list of token ids is the prompt: nothing is put before it, as it is before a text."""
    for ids in [5, 6, 7], [5]:
        answer = server.ask(prompt=ids)
        equal(answer.prompt_tokens, len(ids), "prompt_tokens", answer.at)


@protocol(Level.MUST, Evidence.EXACT, PROMPT_IDS)
def unknown_ids_are_refused(server: Server) -> None:
    """A token id that the model does not have is refused, by a 422 or a 400."""
    for token in NO_IDS:
        for prompt in [token], [5, token, 5]:
            reply = server.post(prompt=prompt)
            if reply.status >= 500:
                raise Broken(f"answered {reply.status}", at=reply.at)
            require(reply.status in (400, 422), "422 or 400", reply.status, reply.at)


@protocol(Level.MUST, Evidence.EXACT, rests_on="stopping.token_budget")
def too_long_a_text_is_refused(server: Server) -> None:
    """A text longer than the context is a 400 with the code `context_length_exceeded`, streamed or
    not; it is not cut.
    """
    context = context_length(server)
    for fields in {}, {"stream": True}:
        reply = server.post(prompt=RARE * (context or LONG), **fields)
        if reply.status == 200 and context is None:
            raise Inconclusive("the context may be longer than was tried", at=reply.at)
        error_of(reply, 400, "context_length_exceeded")


@protocol(
    Level.MUST, Evidence.EXACT, PROMPT_IDS, CONTEXT, rests_on="stopping.ContextLengthExceeded"
)
def a_full_context_is_refused(server: Server) -> None:
    """A prompt that leaves no room for one token is a 400 with the code
    `context_length_exceeded`, whatever max_tokens is.
    """
    full = [5] * (context_length(server) or 0)
    for fields in {}, {"max_tokens": 1}, {"max_tokens": None}:
        error_of(server.post(prompt=full, **fields), 400, "context_length_exceeded")


@consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def all_of_it_is_read(server: Server) -> None:
    """The first word of a long prompt changes the log-probabilities of what comes after it."""
    rest = " and the dog and the cat and the bird went to the house." * 3
    rows = [
        server.ask(prompt=word + rest, max_tokens=1, logprobs=5).choice.rows.top[0]
        for word in ("Red", "He")
    ]
    require(rows[0] != rows[1], "other log-probabilities", rows[1], server.last)


@consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS)
def a_list_is_answered_one_by_one(server: Server) -> None:
    """A list of texts has a choice for each, whose index is the text's place in the list, and which
    says what the text gets alone.
    """
    answered_alone(server, PROMPTS)


@consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS, PROMPT_IDS)
def a_list_of_ids_is_answered_one_by_one(server: Server) -> None:
    """A list of lists of token ids has a choice for each, which says what those ids get alone."""
    answered_alone(server, ([5, 6, 7], [8], [9, 5]))


def answered_alone(server: Server, prompts: Sequence[Any]) -> None:
    """Greedily: the answer to a list against those to its items."""
    answer = server.ask(prompt=list(prompts))
    indices = [c.index for c in answer.choices]
    equal(indices, list(range(len(prompts))), "indices", answer.at)
    for choice, prompt in zip(answer.choices, prompts, strict=True):
        alone = server.ask(prompt=prompt).choice
        seen = choice.text, choice.finish_reason
        equal(seen, (alone.text, alone.finish_reason), f"the answer to {prompt!r}", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS, SEVERAL, SEEDS)
def choices_of_a_list_are_in_order(server: Server) -> None:
    """Choice i of prompt p has the index p · n + i, and is drawn as if its prompt were alone: its
    place in the list does not enter.
    """
    fields = {"n": 2, "temperature": 1.5, "seed": server.rng.getrandbits(31)}
    answer = server.ask(prompt=list(PROMPTS), **fields)
    alone = [[c.text for c in server.ask(prompt=p, **fields).choices] for p in PROMPTS]
    equal([c.index for c in answer.choices], list(range(6)), "indices", answer.at)
    equal([c.text for c in answer.choices], sum(alone, []), "texts", answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_IDS, TOKEN_IDS, ECHOED_ROWS)
def ids_of_a_text_are_the_text(server: Server) -> None:
    """The token ids that an echoed text is made of are answered like the text."""
    for text in PROMPT, " the  dog\n", "é 😀":
        ids = ids_of(server, text)
        asked: list[dict[str, Any]] = [{}]
        asked += [{"temperature": 1, "seed": 5}] if has(server, SEEDS) else []
        for fields in asked:
            one, other = server.ask(prompt=text, **fields), server.ask(prompt=ids, **fields)
            same(one.choices, other.choices, f"the answer to {text!r}")
            equal(other.prompt_tokens, one.prompt_tokens, "prompt_tokens", other.at)


def ids_of(server: Server, text: str) -> list[int]:
    """Of a prompt, as its rows are called."""
    answer: Answer = server.ask(
        prompt=text, max_tokens=1, echo=True, logprobs=1, return_tokens_as_token_ids=True
    )
    rows = answer.choice.rows.tokens[: answer.prompt_tokens]
    found = [TOKEN_ID.fullmatch(name) for name in rows]
    require(all(found), "token_id:…", rows, answer.at)
    return [int(match[1]) for match in found if match]


@consistency(Level.MUST, Evidence.EXACT, ECHO, rests_on="tokenizer.detokenizer.decode")
def no_character_is_lost(server: Server) -> None:
    """A prompt comes back in an echo as it was sent: spaces at either end, line breaks, marks, and
    whatever Unicode has.
    """
    for text in ODD:
        answer = server.ask(prompt=text, max_tokens=1, echo=True)
        echoed = answer.text[: len(text)]
        require(echoed == text, repr(text), repr(answer.text), answer.at)


def counted(server: Server, text: str) -> None:
    """prompt_tokens against the tokenizer."""
    answer = server.ask(prompt=text, max_tokens=1)
    expected = len(server.truth.ids(text))
    equal(answer.prompt_tokens, expected, f"prompt_tokens of {text!r}", answer.at)


@truth(Level.MUST, Evidence.EXACT, rests_on="tokenizer.loader.load_tokenizer")
def is_tokenised_as_it_is(server: Server) -> None:
    """prompt_tokens is the number of the tokenizer's ids: nothing is trimmed, normalised, or added
    but what the tokenizer adds.
    """
    for text in "a", " a", "  a", "a ", "a\n", *ODD:
        counted(server, text)


@truth(Level.MUST, Evidence.EXACT, rests_on="tokenizer.loader.load_tokenizer")
def special_tokens_may_be_written_out(server: Server) -> None:
    """The text of a special token is that token."""
    words = server.truth.model.tokenizer
    names = [words.piece(token).decode() for token in sorted(server.truth.special)[:8]]
    for name in filter(None, names):
        for text in name, f"a{name} b":
            counted(server, text)


@truth(Level.MUST, Evidence.EXACT)
def no_text_is_the_first_token_alone(server: Server) -> None:
    """An empty text is the token that the tokenizer puts first; if there is none it is a 400."""
    if server.truth.model.tokenizer.bos_id is None:
        error_of(server.post(prompt=""), 400)
    else:
        answer = server.ask(prompt="")
        equal(answer.prompt_tokens, 1, "prompt_tokens", answer.at)
