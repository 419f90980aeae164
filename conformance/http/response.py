"""Answers, read leniently: what is wrong with their shape is said where somebody looks at it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.http.exchange import Exchange
from conformance.verdicts import Failed

Json = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """`logprobs` of a choice: one item in each list for each token."""

    tokens: list[str]
    values: list[float | None]
    top: list[dict[str, float] | None]
    offsets: list[int]


@dataclass(frozen=True)
class Choice:
    """One sequence of an answer."""

    json: Json
    at: Exchange = field(repr=False)

    @property
    def index(self) -> int:
        return int(self.json.get("index", 0))

    @property
    def text(self) -> str:
        text = self.json.get("text")
        if not isinstance(text, str):
            raise Failed("a choice with a text", self.json, at=self.at)
        return text

    @property
    def finish_reason(self) -> Any:
        return self.json.get("finish_reason")

    @property
    def stop_reason(self) -> Any:
        return self.json.get("stop_reason")

    @property
    def rows(self) -> Rows:
        """Raises Failed if there are none of the contract's shape."""
        found = self.json.get("logprobs")
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        if not isinstance(found, dict) or not all(isinstance(found.get(n), list) for n in names):
            expected = "logprobs with tokens, token_logprobs, top_logprobs and text_offset"
            raise Failed(expected, found, at=self.at)
        rows = Rows(*(found[n] for n in names))
        if not len(rows.tokens) == len(rows.values) == len(rows.top) == len(rows.offsets):
            raise Failed("four lists of one length in logprobs", found, at=self.at)
        return rows


@dataclass(frozen=True)
class Answer:
    """A whole answer, or the parts of a stream put together in the shape of one."""

    json: Json
    at: Exchange = field(repr=False)

    @property
    def choices(self) -> list[Choice]:
        """In the order of their indices."""
        found = self.json.get("choices")
        if not isinstance(found, list) or not all(isinstance(c, dict) for c in found):
            raise Failed("an answer with choices", self.json, at=self.at)
        return sorted((Choice(c, self.at) for c in found), key=lambda c: c.index)

    @property
    def choice(self) -> Choice:
        """The only one."""
        choices = self.choices
        if len(choices) != 1:
            raise Failed("one choice", f"{len(choices)} choices", at=self.at)
        return choices[0]

    @property
    def text(self) -> str:
        return self.choice.text

    @property
    def usage(self) -> Json:
        found = self.json.get("usage")
        if not isinstance(found, dict):
            raise Failed("an answer with usage", self.json, at=self.at)
        return found

    @property
    def completion_tokens(self) -> int:
        return self._count("completion_tokens")

    @property
    def prompt_tokens(self) -> int:
        return self._count("prompt_tokens")

    @property
    def cached_tokens(self) -> int | None:
        """None if the server does not say."""
        details = self.usage.get("prompt_tokens_details")
        found = details.get("cached_tokens") if isinstance(details, dict) else None
        return found if isinstance(found, int) else None

    def _count(self, name: str) -> int:
        found = self.usage.get(name)
        if not isinstance(found, int):
            raise Failed(f"usage.{name}, a number", found, at=self.at)
        return found


@dataclass(frozen=True)
class Stream:
    """text: the body of an event stream as it came."""

    text: str
    at: Exchange = field(repr=False)

    @property
    def data(self) -> list[str]:
        """What stands behind each `data:`, however it is framed."""
        lines = self.text.replace("\r\n", "\n").split("\n")
        return [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]

    @property
    def events(self) -> list[Json]:
        """All but `[DONE]`."""
        found = []
        for data in self.data:
            if data != "[DONE]":
                found.append(parsed(data, self.at))
        return found

    @property
    def parts(self) -> list[Json]:
        """(event by event) the choices that it has."""
        return [c for event in self.events for c in event.get("choices") or ()]

    @property
    def usage(self) -> Any:
        """The last that was sent, or None."""
        return next((u for e in reversed(self.events) if (u := e.get("usage"))), None)

    @property
    def answer(self) -> Answer:
        """The parts put together: texts and rows joined, reasons from the last that has one."""
        whole: dict[int, Json] = {}
        for part in self.parts:
            join(whole.setdefault(part.get("index", 0), {}), part)
        choices = [whole[i] for i in sorted(whole)]
        return Answer({"choices": choices, "usage": self.usage}, self.at)


def join(whole: Json, part: Json) -> None:
    """Add one event's choice to what there is of it."""
    whole["index"] = part.get("index", 0)
    whole["text"] = whole.get("text", "") + (part.get("text") or "")
    for name in "finish_reason", "stop_reason":
        if part.get(name) is not None or name not in whole:
            whole[name] = part.get(name)
    rows = part.get("logprobs")
    if not isinstance(rows, dict):
        whole.setdefault("logprobs", None)
        return
    so_far = whole.get("logprobs") or {}
    whole["logprobs"] = so_far | {
        name: so_far.get(name, []) + column
        for name, column in rows.items()
        if isinstance(column, list)
    }


def parsed(text: str, at: Exchange) -> Json:
    """Raises Failed for what is no JSON object."""
    try:
        found = json.loads(text)
    except ValueError:
        raise Failed("JSON", text[:200], at=at) from None
    if not isinstance(found, dict):
        raise Failed("a JSON object", text[:200], at=at)
    return found


def contents(choices: Sequence[Choice]) -> list[tuple[Any, ...]]:
    """What must be equal of answers that are the same."""
    return [
        (c.index, c.text, c.json.get("logprobs"), c.finish_reason, c.stop_reason) for c in choices
    ]
