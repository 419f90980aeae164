"""Mutants of prompt."""

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app, with_engine_requests
from tests.conformance.mutations.requests import mutate_body
from tests.conformance.mutations.responses import mutate_json


def with_prompts(model: Bundle, kind: type, change: Callable[[Any], Any]) -> ASGIApp:
    """Change the prompts of one type."""

    def changed(body: Json) -> Json:
        prompt = body.get("prompt", ...)
        return body | ({"prompt": change(prompt)} if isinstance(prompt, kind) else {})

    return mutate_body(conforming_app(model), changed)


def is_ids(prompt: list[Any]) -> bool:
    return bool(prompt) and all(type(token) is int for token in prompt)


@mutant("prompt/missing-prompt-422")
def missing_prompt_is_empty(model: Bundle) -> ASGIApp:
    """Use an empty prompt if there is none."""
    return mutate_body(conforming_app(model), lambda body: {"prompt": ""} | body)


@mutant("prompt/malformed-prompt-422")
def null_prompt_is_empty(model: Bundle) -> ASGIApp:
    """Use an empty prompt for null."""
    return with_prompts(model, type(None), lambda prompt: "")


@mutant("prompt/integral-float")
def float_ids_refused(model: Bundle) -> ASGIApp:
    """Refuse a list with a float."""
    return with_prompts(model, list, lambda p: None if float in map(type, p) else p)


@mutant("prompt/integral-float")
def nested_float_ids_dropped(model: Bundle) -> ASGIApp:
    """Drop the floats of a list of lists of token ids."""

    def drop(prompt: list[Any]) -> list[Any]:
        return [
            [i for i in item if type(i) is int] if isinstance(item, list) else item
            for item in prompt
        ]

    return with_prompts(model, list, drop)


@mutant("prompt/unknown-token-ids")
def ids_modulo_vocab(model: Bundle) -> ASGIApp:
    """Take ids modulo the vocabulary size."""
    size = model.vocab_size
    return with_prompts(model, list, lambda p: [t % size for t in p] if is_ids(p) else p)


@mutant("prompt/overlong-text-400")
def long_text_truncated(model: Bundle) -> ASGIApp:
    """Keep only the end of a long text."""
    return with_prompts(model, str, lambda prompt: prompt[-50:])


@mutant("prompt/full-context-400")
def full_context_shifted(model: Bundle) -> ASGIApp:
    """Drop the first token of a prompt that fills the context."""
    return with_prompts(model, list, lambda p: p[1:] if len(p) == model.context else p)


@mutant("prompt/no-truncation")
def attention_window(model: Bundle) -> ASGIApp:
    """Keep only the last 32 tokens of the prompt."""
    return with_engine_requests(model, lambda r: replace(r, prompt=r.prompt[-32:]))


@mutant("prompt/text-list-matches-single-prompts", "prompt/id-list-matches-single-prompts")
def reversed_indices(model: Bundle) -> ASGIApp:
    """Reverse the indices of the choices."""

    def reverse(answer: Json) -> Json:
        last = len(answer["choices"]) - 1
        for choice in answer["choices"]:
            choice["index"] = last - choice["index"]
        return answer

    return mutate_json(conforming_app(model), reverse)


@mutant("prompt/list-choice-order")
def interleaved_indices(model: Bundle) -> ASGIApp:
    """Interleave the choices of three prompts: the index is i · prompts + p."""

    def interleave(answer: Json) -> Json:
        choices = answer["choices"]
        n = max(1, len(choices) // 3)
        for choice in choices:
            p, i = divmod(choice["index"], n)
            choice["index"] = i * (len(choices) // n) + p
        return answer

    return mutate_json(conforming_app(model), interleave)


@mutant("prompt/token-ids-equal-text")
def bos_removed_from_ids(model: Bundle) -> ASGIApp:
    """Remove the BOS token from a prompt of ids."""
    bos = model.tokenizer.bos_id
    return with_prompts(model, list, lambda p: p[1:] if is_ids(p) and p[0] == bos else p)


@mutant("prompt/token-ids-verbatim")
def bos_added_to_ids(model: Bundle) -> ASGIApp:
    """Add the BOS token to a prompt of ids, too."""
    bos = [model.tokenizer.bos_id]
    return with_prompts(model, list, lambda p: bos + p if is_ids(p) else p)


@mutant("prompt/leading-bos")
def bos_added_twice(model: Bundle) -> ASGIApp:
    """Add the BOS token before a text that begins with it."""
    tokenizer = model.tokenizer
    bos = tokenizer.token_bytes(tokenizer.bos_id or 0).decode()
    return with_prompts(model, str, lambda p: bos + p if p.startswith(bos) else p)


@mutant("prompt/lossless-echo")
def nfc_normalized(model: Bundle) -> ASGIApp:
    """Normalize the prompt to NFC, which composes combining marks."""
    return with_prompts(model, str, lambda p: unicodedata.normalize("NFC", p))


@mutant("prompt/exact-token-count")
def trailing_space_trimmed(model: Bundle) -> ASGIApp:
    """Strip whitespace at the end of a prompt."""
    return with_prompts(model, str, str.rstrip)


@mutant("prompt/special-tokens-in-text")
def special_tokens_escaped(model: Bundle) -> ASGIApp:
    """Encode the text of a special token as plain text."""
    return with_prompts(model, str, lambda p: p.replace("<", "<\u200b"))


@mutant("prompt/empty-prompt-is-bos")
def empty_prompt_is_space(model: Bundle) -> ASGIApp:
    """Replace an empty text by a space."""
    return with_prompts(model, str, lambda p: p or " ")
