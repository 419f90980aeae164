"""prompt, broken."""

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import Json, answering, asking, telling, whole


def prompting(model: Bundle, kind: type, change: Callable[[Any], Any]) -> ASGIApp:
    """The prompts of one kind are changed."""

    def changed(body: Json) -> Json:
        prompt = body.get("prompt", ...)
        return body | ({"prompt": change(prompt)} if isinstance(prompt, kind) else {})

    return asking(whole(model), changed)


def is_ids(prompt: list[Any]) -> bool:
    return bool(prompt) and all(type(token) is int for token in prompt)


@mutant("prompt/missing-is-refused")
def default(model: Bundle) -> ASGIApp:
    """Without a prompt it is empty."""
    return asking(whole(model), lambda body: {"prompt": ""} | body)


@mutant("prompt/wrong-types-are-refused")
def null(model: Bundle) -> ASGIApp:
    """null is the beginning of a text."""
    return prompting(model, type(None), lambda prompt: "")


@mutant("prompt/unknown-ids-are-refused")
def modulo(model: Bundle) -> ASGIApp:
    """Ids are taken modulo the size of the vocabulary."""
    size = model.vocab_size
    return prompting(model, list, lambda p: [t % size for t in p] if is_ids(p) else p)


@mutant("prompt/too-long-a-text-is-refused")
def cut(model: Bundle) -> ASGIApp:
    """Of a long text the end is read."""
    return prompting(model, str, lambda prompt: prompt[-50:])


@mutant("prompt/a-full-context-is-refused")
def shifted(model: Bundle) -> ASGIApp:
    """A prompt that fills the context loses its first token."""
    return prompting(model, list, lambda p: p[1:] if len(p) == model.context else p)


@mutant("prompt/all-of-it-is-read")
def a_window(model: Bundle) -> ASGIApp:
    """The model sees the last 32 tokens."""
    return telling(model, lambda r: replace(r, prompt=r.prompt[-32:]))


@mutant("prompt/a-list-is-answered-one-by-one", "prompt/a-list-of-ids-is-answered-one-by-one")
def as_they_finish(model: Bundle) -> ASGIApp:
    """Choices have their texts in another order."""

    def turned(answer: Json) -> Json:
        last = len(answer["choices"]) - 1
        for choice in answer["choices"]:
            choice["index"] = last - choice["index"]
        return answer

    return answering(whole(model), turned)


@mutant("prompt/choices-of-a-list-are-in-order")
def interleaved(model: Bundle) -> ASGIApp:
    """Of three prompts the first choices come first: the index is i · prompts + p."""

    def interleave(answer: Json) -> Json:
        choices = answer["choices"]
        n = max(1, len(choices) // 3)
        for choice in choices:
            p, i = divmod(choice["index"], n)
            choice["index"] = i * (len(choices) // n) + p
        return answer

    return answering(whole(model), interleave)


@mutant("prompt/ids-of-a-text-are-the-text")
def first_token_never(model: Bundle) -> ASGIApp:
    """The token that begins a text is taken away from ids."""
    first = model.tokenizer.bos_id
    return prompting(model, list, lambda p: p[1:] if is_ids(p) and p[0] == first else p)


@mutant("prompt/ids-are-taken-as-they-are")
def first_token_always(model: Bundle) -> ASGIApp:
    """The token that begins a text is put before ids, too."""
    first = [model.tokenizer.bos_id]
    return prompting(model, list, lambda p: first + p if is_ids(p) else p)


@mutant("prompt/no-character-is-lost")
def composed(model: Bundle) -> ASGIApp:
    """Marks are joined with their letters."""
    return prompting(model, str, lambda p: unicodedata.normalize("NFC", p))


@mutant("prompt/is-tokenised-as-it-is")
def trimmed(model: Bundle) -> ASGIApp:
    """White space at the end of a prompt is taken away."""
    return prompting(model, str, str.rstrip)


@mutant("prompt/special-tokens-may-be-written-out")
def escaped(model: Bundle) -> ASGIApp:
    """The text of a special token stays text."""
    return prompting(model, str, lambda p: p.replace("<", "<\u200b"))


@mutant("prompt/no-text-is-the-first-token-alone")
def a_space(model: Bundle) -> ASGIApp:
    """An empty text is a space."""
    return prompting(model, str, lambda p: p or " ")
