"""Mutants of text: detokenization and the end of the sequence."""

from collections.abc import Callable

from starlette.types import ASGIApp

from conformance.oracle.dialects import STEP_NAMES, chain
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app, with_logits_chain
from tests.conformance.mutations.responses import each_choice, mutate_json

REPLACEMENT = "\ufffd"


def with_text(model: Bundle, change: Callable[[str], str]) -> ASGIApp:
    """Change the texts of non-streamed responses."""

    def changed(choice: Json) -> None:
        choice["text"] = change(choice["text"])

    return mutate_json(conforming_app(model), each_choice(changed))


def with_eos_choices(model: Bundle, change: Callable[[Json, Json], None]) -> ASGIApp:
    """Change the choices that an end-of-sequence token ended, given the usage too."""

    def changed(answer: Json) -> Json:
        for choice in answer["choices"]:
            if choice["finish_reason"] == "stop" and choice["stop_reason"] is None:
                change(choice, answer["usage"])
        return answer

    return mutate_json(conforming_app(model), changed)


@mutant("text/detokenization", "text/invalid-bytes-replaced")
def invalid_bytes_dropped(model: Bundle) -> ASGIApp:
    """Drop invalid bytes."""
    return with_text(model, lambda text: text.replace(REPLACEMENT, ""))


@mutant("text/invalid-bytes-replaced")
def replacement_doubled(model: Bundle) -> ASGIApp:
    """Replace each invalid sequence by two of U+FFFD."""
    return with_text(model, lambda text: text.replace(REPLACEMENT, 2 * REPLACEMENT))


@mutant("text/multibyte-characters-streamed")
def token_by_token_stream(model: Bundle) -> ASGIApp:
    """Decode each token of a stream separately: each byte of a character becomes U+FFFD."""

    def change(choice: Json) -> None:
        decoded = [c if c.isascii() else REPLACEMENT * len(c.encode()) for c in choice["text"]]
        choice["text"] = "".join(decoded)

    return mutate_json(conforming_app(model), event=each_choice(change))


@mutant("text/no-lone-surrogates")
def lone_surrogates(model: Bundle) -> ASGIApp:
    """Write invalid bytes as lone surrogates."""
    return with_text(model, lambda text: text.replace(REPLACEMENT, "\udcff"))


@mutant("text/leading-space-kept")
def leading_space_stripped(model: Bundle) -> ASGIApp:
    """Decode the output without the prompt, which strips its leading space."""
    return with_text(model, lambda text: text.removeprefix(" "))


@mutant("text/incomplete-character-replaced")
def incomplete_character_lost(model: Bundle) -> ASGIApp:
    """Drop an incomplete character at the end."""
    return with_text(model, lambda text: text.rstrip(REPLACEMENT))


@mutant("text/special-tokens-not-sampled")
def all_tokens_allowed(model: Bundle) -> ASGIApp:
    """Sample without the token mask."""
    return with_logits_chain(model, chain(STEP_NAMES[1:]))


@mutant("text/eos-not-in-text")
def eos_written(model: Bundle) -> ASGIApp:
    """Write the end-of-sequence token into the text."""
    return with_eos_choices(model, lambda choice, _: choice.update(text=choice["text"] + "</s>"))


@mutant("text/eos-not-in-text")
def eos_not_counted(model: Bundle) -> ASGIApp:
    """Leave the end-of-sequence token out of the count."""

    def change(_: Json, usage: Json) -> None:
        usage["completion_tokens"] -= 1

    return with_eos_choices(model, change)


@mutant("text/eos-not-in-text")
def eos_stop_reason(model: Bundle) -> ASGIApp:
    """Report the id of the end-of-sequence token as `stop_reason`."""
    return with_eos_choices(model, lambda choice, _: choice.update(stop_reason=2))
