"""prompt: the text or the token ids that the model continues."""

import json
from collections.abc import Sequence
from typing import Any

from conformance.assertions.basic import (
    assert_equal,
    assert_error,
    assert_error_names_field,
    assert_rejected,
    assert_same_choices,
    assert_status,
    assert_that,
)
from conformance.harness.capabilities import (
    CONTEXT_LENGTH,
    ECHO,
    LOGPROBS,
    MULTIPLE_CHOICES,
    PROMPT_IDS,
    PROMPT_LISTS,
    PROMPT_LOGPROBS,
    SEEDS,
    TOKEN_IDS,
    context_length,
    has,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import PROMPT, Server
from conformance.http.response import TOKEN_ID, Completion
from conformance.verdicts import (
    Evidence,
    Inconclusive,
    Level,
    NonStrict,
    NotApplicable,
    ServerError,
)

checks = CheckGroup("prompt", spec="prompt.prompt_ids")

MALFORMED: tuple[Any, ...] = (
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
UNKNOWN_IDS = (-1, 2**31 - 1, 2**31, 2**63, -(2**70))
OVERLONG = 200_000  # more tokens than a context has, if the server does not report its length
RARE = "\ua66e "  # a letter of one old book: no tokenizer merges several of them into a token
PROMPTS = (PROMPT, "The", "List three toys.\n1.")

# A careless tokenizer, or a careless step before it, loses a character of each.
UNUSUAL_TEXTS = (
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


@checks.protocol(Level.MUST, Evidence.EXACT)
def missing_prompt_422(server: Server) -> None:
    """A request without a prompt is a 422 that names the field."""
    assert_error_names_field(server.post(prompt=...), "prompt")


@checks.protocol(Level.MUST, Evidence.EXACT)
def malformed_prompt_422(server: Server) -> None:
    """A value other than a text, a list of token ids, or a list of either is a 422 that names the
    field; so is an empty list.
    """
    assert_rejected(server, "prompt", MALFORMED)


@checks.protocol(Level.MUST, Evidence.EXACT)
def token_ids_verbatim(server: Server) -> None:
    """A list of token ids is the whole prompt: no special token is added, unlike for a text."""
    for ids in [5, 6, 7], [5]:
        answer = server.complete(prompt=ids)
        assert_equal(answer.prompt_tokens, len(ids), "prompt_tokens", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_IDS)
def integral_float(server: Server) -> None:
    """A token id may be written with a fraction of zero or an exponent, as in JSON Schema: 7.0 and
    70e-1 are the id 7.
    """
    expected = server.complete(prompt=[5, 6, 7]).choices
    spellings = ["[5.0, 6, 7]", "[5, 6.0, 70e-1]"]
    spellings += ["[[5.0, 6e0, 7.0]]"] if has(server, PROMPT_LISTS) else []
    for spelling in spellings:
        body = json.dumps(server.body(prompt="PROMPT")).replace('"PROMPT"', spelling)
        reply = server.send(body.encode())
        assert_status(reply, 200)
        actual = Completion(reply.json, reply.at).choices
        assert_same_choices(expected, actual, "the answer to [5, 6, 7]")


@checks.protocol(Level.MUST, Evidence.EXACT, PROMPT_IDS)
def unknown_token_ids(server: Server) -> None:
    """A token id outside the vocabulary is refused with a 422 or a 400."""
    for token in UNKNOWN_IDS:
        for prompt in [token], [5, token, 5]:
            reply = server.post(prompt=prompt)
            if reply.status >= 500:
                raise ServerError(f"answered {reply.status}", at=reply.at)
            assert_that(reply.status in (400, 422), "422 or 400", reply.status, reply.at)


@checks.protocol(Level.MUST, Evidence.EXACT, spec="stopping.token_budget")
def overlong_text_400(server: Server) -> None:
    """A text longer than the context is a 400 with the code `context_length_exceeded`, streamed or
    not; it is not truncated.
    """
    context = context_length(server)
    for fields in {}, {"stream": True}:
        reply = server.post(prompt=RARE * (context or OVERLONG), **fields)
        if reply.status == 200 and context is None:
            raise Inconclusive("the context may be longer than the prompt", at=reply.at)
        assert_error(reply, 400, "context_length_exceeded")


@checks.protocol(
    Level.MUST, Evidence.EXACT, PROMPT_IDS, CONTEXT_LENGTH, spec="stopping.ContextLengthExceeded"
)
def full_context_400(server: Server) -> None:
    """A prompt that leaves no room for one output token is a 400 with the code
    `context_length_exceeded`, whatever max_tokens is.
    """
    full = [5] * (context_length(server) or 0)
    for fields in {}, {"max_tokens": 1}, {"max_tokens": None}:
        assert_error(server.post(prompt=full, **fields), 400, "context_length_exceeded")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, LOGPROBS)
def no_truncation(server: Server) -> None:
    """The first word of a long prompt changes the log-probabilities after the prompt."""
    rest = " and the dog and the cat and the bird went to the house." * 3
    tops = [
        server.complete(prompt=word + rest, max_tokens=1, logprobs=5).choice.logprobs.top[0]
        for word in ("Red", "He")
    ]
    assert_that(tops[0] != tops[1], "other log-probabilities", tops[1], server.last)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS)
def text_list_matches_single_prompts(server: Server) -> None:
    """A list of texts has a choice for each text, whose index is the position in the list and whose
    text is that of a request with this prompt only.
    """
    assert_list_matches_single_prompts(server, PROMPTS)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS, PROMPT_IDS)
def id_list_matches_single_prompts(server: Server) -> None:
    """A list of lists of token ids has a choice for each list, equal to that of a request with
    these ids only.
    """
    assert_list_matches_single_prompts(server, ([5, 6, 7], [8], [9, 5]))


def assert_list_matches_single_prompts(server: Server, prompts: Sequence[Any]) -> None:
    """Assert that the greedy choices of a prompt list equal those of separate requests."""
    answer = server.complete(prompt=list(prompts))
    indices = [c.index for c in answer.choices]
    assert_equal(indices, list(range(len(prompts))), "indices", answer.at)
    for choice, prompt in zip(answer.choices, prompts, strict=True):
        single = server.complete(prompt=prompt).choice
        actual = choice.text, choice.finish_reason
        assert_equal(
            actual, (single.text, single.finish_reason), f"the answer to {prompt!r}", answer.at
        )


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS, MULTIPLE_CHOICES, SEEDS)
def list_choice_order(server: Server) -> None:
    """Choice i of prompt p has the index p · n + i, and is sampled as in a request with this prompt
    only: its randomness does not depend on the position in the list.
    """
    fields = {"n": 2, "temperature": 1.5, "seed": server.rng.getrandbits(31)}
    answer = server.complete(prompt=list(PROMPTS), **fields)
    single = [[c.text for c in server.complete(prompt=p, **fields).choices] for p in PROMPTS]
    assert_equal([c.index for c in answer.choices], list(range(6)), "indices", answer.at)
    assert_equal([c.text for c in answer.choices], sum(single, []), "texts", answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_IDS, TOKEN_IDS, PROMPT_LOGPROBS)
def token_ids_equal_text(server: Server) -> None:
    """The token ids of an echoed text, sent as a prompt, are answered like the text."""
    for text in PROMPT, " the  dog\n", "é 😀":
        ids = echoed_token_ids(server, text)
        variants: list[dict[str, Any]] = [{}]
        variants += [{"temperature": 1, "seed": 5}] if has(server, SEEDS) else []
        for fields in variants:
            expected, actual = (
                server.complete(prompt=text, **fields),
                server.complete(prompt=ids, **fields),
            )
            assert_same_choices(expected.choices, actual.choices, f"the answer to {text!r}")
            assert_equal(actual.prompt_tokens, expected.prompt_tokens, "prompt_tokens", actual.at)


def echoed_token_ids(server: Server, text: str) -> list[int]:
    """Return the token ids of a prompt, from the names in its echoed `logprobs`."""
    answer: Completion = server.complete(
        prompt=text, max_tokens=1, echo=True, logprobs=1, return_tokens_as_token_ids=True
    )
    names = answer.choice.logprobs.tokens[: answer.prompt_tokens]
    matches = [TOKEN_ID.fullmatch(name) for name in names]
    assert_that(all(matches), "token_id:…", names, answer.at)
    return [int(match[1]) for match in matches if match]


@checks.consistency(Level.MUST, Evidence.EXACT, ECHO, spec="tokenizer.detokenizer.decode")
def lossless_echo(server: Server) -> None:
    """An echo returns the prompt as it was sent: leading and trailing spaces, line breaks,
    combining marks, and any Unicode character.
    """
    for text in UNUSUAL_TEXTS:
        answer = server.complete(prompt=text, max_tokens=1, echo=True)
        echoed = answer.text[: len(text)]
        assert_that(echoed == text, repr(text), repr(answer.text), answer.at)


def assert_token_count(server: Server, text: str) -> None:
    """Assert that prompt_tokens is the number of token ids that the tokenizer gives."""
    answer = server.complete(prompt=text, max_tokens=1)
    expected = len(server.oracle.ids(text))
    assert_equal(answer.prompt_tokens, expected, f"prompt_tokens of {text!r}", answer.at)


@checks.truth(Level.MUST, Evidence.EXACT, spec="tokenizer.loader.load_tokenizer")
def exact_token_count(server: Server) -> None:
    """prompt_tokens is the number of the tokenizer's ids: the server does not trim or normalize the
    text, and adds only the tokens that the tokenizer adds.
    """
    for text in "a", " a", "  a", "a ", "a\n", *UNUSUAL_TEXTS:
        assert_token_count(server, text)


@checks.truth(Level.MUST, Evidence.EXACT, spec="tokenizer.loader.load_tokenizer")
def special_tokens_in_text(server: Server) -> None:
    """The text of a special token is encoded as that token."""
    tokenizer = server.oracle.model.tokenizer
    for token in sorted(server.oracle.special_ids)[:8]:
        name = tokenizer.token_bytes(token).decode()
        texts = [f"a{name} b"] if token == tokenizer.bos_id else [name, f"a{name} b"]
        for text in texts if name else ():
            assert_token_count(server, text)


@checks.truth(Level.SHOULD, Evidence.EXACT, spec="tokenizer.loader.load_tokenizer")
def leading_bos(server: Server) -> None:
    """A text that begins with the BOS token has one BOS, not a second one before it. A further BOS
    in the text counts.
    """
    tokenizer = server.oracle.model.tokenizer
    if tokenizer.bos_id is None:
        raise NotApplicable("the tokenizer adds no BOS token")
    bos = tokenizer.token_bytes(tokenizer.bos_id).decode()
    for text in f"{bos}a", f"{bos} a{bos}b", f"{bos}{bos}a":
        answer = server.complete(prompt=text, max_tokens=1)
        expected = len(server.oracle.ids(text))
        if answer.prompt_tokens == expected + 1:
            note = "BOS is added before the BOS of the text"
            raise NonStrict(
                f"{expected} prompt_tokens", answer.prompt_tokens, note=note, at=answer.at
            )
        assert_equal(answer.prompt_tokens, expected, f"prompt_tokens of {text!r}", answer.at)


@checks.truth(Level.MUST, Evidence.EXACT)
def empty_prompt_is_bos(server: Server) -> None:
    """An empty text is the BOS token alone; a tokenizer without one makes it a 400."""
    if server.oracle.model.tokenizer.bos_id is None:
        assert_error(server.post(prompt=""), 400)
    else:
        answer = server.complete(prompt="")
        assert_equal(answer.prompt_tokens, 1, "prompt_tokens", answer.at)
