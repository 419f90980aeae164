"""Mutants of echo."""

import re
from collections.abc import Callable

from starlette.types import ASGIApp

from conformance.http.client import PROMPT
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import broken_when, mutate_body
from tests.conformance.mutations.responses import each_choice, mutate_json, truncate_text


def with_echo(model: Bundle, change: Callable[[Json], Json]) -> ASGIApp:
    """Change the non-streamed responses to requests with echo."""
    return broken_when(
        model, lambda body: body.get("echo"), mutate_json(conforming_app(model), change)
    )


def with_echoed_logprobs(model: Bundle, change: Callable[[Json, int], None]) -> ASGIApp:
    """Change `logprobs` in responses with echo, given the number of prompt tokens."""

    def changed(answer: Json) -> Json:
        for choice in answer["choices"]:
            if choice["logprobs"]:
                change(choice["logprobs"], answer["usage"]["prompt_tokens"])
        return answer

    return with_echo(model, changed)


@mutant("echo/prompt-verbatim")
def leading_space_stripped(model: Bundle) -> ASGIApp:
    """Strip the leading spaces of the prompt, as if it were decoded from its tokens."""

    def change(choice: Json) -> None:
        choice["text"] = choice["text"].removeprefix(" ")

    return with_echo(model, each_choice(change))


@mutant("echo/prompt-in-every-choice")
def first_choice_only(model: Bundle) -> ASGIApp:
    """Echo the prompt in the first choice only."""

    def change(choice: Json) -> None:
        if choice["index"]:
            choice["text"] = choice["text"].removeprefix(PROMPT)

    return with_echo(model, each_choice(change))


@mutant("echo/token-ids-decoded")
def bos_in_text(model: Bundle) -> ASGIApp:
    """Echo a prompt of ids with the BOS token."""

    def change(choice: Json) -> None:
        choice["text"] = "<s> " + choice["text"]

    broken = mutate_json(conforming_app(model), each_choice(change))
    return broken_when(model, lambda b: b.get("echo") and isinstance(b["prompt"], list), broken)


@mutant("echo/prompt-logprobs")
def first_entry_missing(model: Bundle) -> ASGIApp:
    """Leave out the entry of the first token, which has no log-probability."""
    return with_echoed_logprobs(model, lambda lists, _: [items.pop(0) for items in lists.values()])


@mutant("echo/prompt-logprobs")
def output_entries_only(model: Bundle) -> ASGIApp:
    """Leave out the entries of the prompt."""

    def change(logprobs: Json, start: int) -> None:
        logprobs.update({name: items[start:] for name, items in logprobs.items()})

    return with_echoed_logprobs(model, change)


@mutant("echo/output-logprobs-unchanged", "echo/character-offsets")
def offsets_restart_at_output(model: Bundle) -> ASGIApp:
    """Count the offsets of the output from its own beginning."""

    def change(logprobs: Json, start: int) -> None:
        offsets = logprobs["text_offset"]
        logprobs["text_offset"] = offsets[:start] + [o - offsets[start] for o in offsets[start:]]

    return with_echoed_logprobs(model, change)


@mutant("echo/character-offsets")
def byte_offsets(model: Bundle) -> ASGIApp:
    """Count offsets in bytes."""

    def change(choice: Json) -> None:
        logprobs, text = choice["logprobs"] or {"text_offset": []}, choice["text"]
        logprobs["text_offset"] = [len(text[:o].encode()) for o in logprobs["text_offset"]]

    return with_echo(model, each_choice(change))


@mutant(
    "echo/prompt-scoring-matches-generation",
    "echo/greedy-detectable-from-echo",
    "echo/prompt-logprobs-match-model",
)
def logprobs_shifted_by_one(model: Bundle) -> ASGIApp:
    """Report the log-probability of the next token for each prompt token."""

    def change(logprobs: Json, start: int) -> None:
        values = logprobs["token_logprobs"]
        shifted = [None, *values[2 : start + 1], values[start], *values[start + 1 :]]
        logprobs["token_logprobs"] = shifted

    return with_echoed_logprobs(model, change)


@mutant("echo/greedy-detectable-from-echo")
def rounded_token_logprobs(model: Bundle) -> ASGIApp:
    """Round `token_logprobs` of the prompt, but not `top_logprobs`."""

    def change(logprobs: Json, _: int) -> None:
        logprobs["token_logprobs"] = [v and round(v, 5) for v in logprobs["token_logprobs"]]

    return with_echoed_logprobs(model, change)


@mutant("echo/prompt-logprobs-match-model")
def bos_dropped(model: Bundle) -> ASGIApp:
    """Drop the BOS token before the text."""
    encode = model.tokenizer.encode

    def change(body: Json) -> Json:
        prompt = body["prompt"]
        return body | {"prompt": encode(prompt)[1:] if isinstance(prompt, str) else prompt}

    return broken_when(
        model, lambda body: body.get("echo"), mutate_body(conforming_app(model), change)
    )


@mutant("echo/no-stop-in-prompt")
def stop_matches_prompt(model: Bundle) -> ASGIApp:
    """Search for stop strings in the whole text, including the echoed prompt."""

    def cut(text: str, stops: list[str]) -> tuple[int, str] | None:
        return next(((text.find(s), s) for s in stops if s in text), None)

    return truncate_text(model, cut)


def add_spaces(choice: Json) -> None:
    """Put a space after each special token in the text, and shift the offsets."""
    logprobs, text = choice["logprobs"] or {"text_offset": []}, choice["text"]
    names = [m.end() for m in re.finditer(r"</?(?:s|unk)>(?=\w)", text)]
    logprobs["text_offset"] = [o + sum(end <= o for end in names) for o in logprobs["text_offset"]]
    choice["text"] = re.sub(r"(</?(?:s|unk)>)(?=\w)", r"\1 ", text)


@mutant("echo/special-tokens-verbatim")
def space_after_special_tokens(model: Bundle) -> ASGIApp:
    """Put a space after each special token in the echo of token ids."""
    broken = mutate_json(conforming_app(model), each_choice(add_spaces))
    return broken_when(model, lambda b: b.get("echo") and isinstance(b["prompt"], list), broken)


@mutant("echo/special-tokens-verbatim")
def offsets_with_spaces(model: Bundle) -> ASGIApp:
    """Count a space after each special token in `text_offset`, of a stream only."""

    def change(choice: Json) -> None:
        text = choice["text"]
        add_spaces(choice)
        choice["text"] = text

    return broken_when(
        model,
        lambda b: b.get("echo") and b.get("stream"),
        mutate_json(conforming_app(model), event=each_choice(change)),
    )
