"""Completions, parsed leniently: a wrong shape raises Failed only where a check reads that part."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.http.exchange import Exchange
from conformance.verdicts import Failed

Json = dict[str, Any]
TOKEN_ID = re.compile(r"token_id:(\d+)")


@dataclass(frozen=True)
class Logprobs:
    """`logprobs` of a choice, as columns of one length: an entry for each token."""

    tokens: list[str]
    values: list[float | None]
    top: list[dict[str, float] | None]
    offsets: list[int]


@dataclass(frozen=True)
class Choice:
    """One choice of a completion."""

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
    def logprobs(self) -> Logprobs:
        """The log-probabilities. Raises Failed if they do not have the contract's shape."""
        columns = self.json.get("logprobs")
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        if not isinstance(columns, dict) or not all(
            isinstance(columns.get(n), list) for n in names
        ):
            expected = "logprobs with tokens, token_logprobs, top_logprobs and text_offset"
            raise Failed(expected, columns, at=self.at)
        if len({len(columns[n]) for n in names}) > 1:
            raise Failed("four lists of one length in logprobs", columns, at=self.at)
        return Logprobs(*(columns[n] for n in names))


@dataclass(frozen=True)
class Completion:
    """A completion, either from one response or merged from the events of a stream."""

    json: Json
    at: Exchange = field(repr=False)

    @property
    def choices(self) -> list[Choice]:
        """The choices, sorted by index."""
        items = self.json.get("choices")
        if not isinstance(items, list) or not all(isinstance(c, dict) for c in items):
            raise Failed("a completion with choices", self.json, at=self.at)
        return sorted((Choice(c, self.at) for c in items), key=lambda c: c.index)

    @property
    def choice(self) -> Choice:
        """The only choice. Raises Failed if there is not exactly one."""
        choices = self.choices
        if len(choices) != 1:
            raise Failed("one choice", f"{len(choices)} choices", at=self.at)
        return choices[0]

    @property
    def text(self) -> str:
        return self.choice.text

    @property
    def usage(self) -> Json:
        usage = self.json.get("usage")
        if not isinstance(usage, dict):
            raise Failed("a completion with usage", self.json, at=self.at)
        return usage

    @property
    def completion_tokens(self) -> int:
        return self._count("completion_tokens")

    @property
    def prompt_tokens(self) -> int:
        return self._count("prompt_tokens")

    @property
    def cached_tokens(self) -> int | None:
        """Prompt tokens read from the prefix cache; None if the server does not report them."""
        details = self.usage.get("prompt_tokens_details")
        count = details.get("cached_tokens") if isinstance(details, dict) else None
        return count if isinstance(count, int) else None

    def _count(self, name: str) -> int:
        count = self.usage.get(name)
        if not isinstance(count, int):
            raise Failed(f"usage.{name}, a number", count, at=self.at)
        return count


@dataclass(frozen=True)
class Stream:
    """An event stream. text: its body as received."""

    text: str
    at: Exchange = field(repr=False)

    @property
    def data(self) -> list[str]:
        """The value of each `data:` line, whatever the framing of the events."""
        lines = self.text.replace("\r\n", "\n").split("\n")
        return [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]

    @property
    def events(self) -> list[Json]:
        """The JSON of each event, without `[DONE]`."""
        return [parse_object(data, self.at) for data in self.data if data != "[DONE]"]

    @property
    def parts(self) -> list[Json]:
        """The choices of all events, in the order received."""
        return [c for event in self.events for c in event.get("choices") or ()]

    @property
    def usage(self) -> Any:
        """The last usage that was sent, or None."""
        return next((u for e in reversed(self.events) if (u := e.get("usage"))), None)

    @property
    def completion(self) -> Completion:
        """The merged completion: texts and logprobs concatenated, the last reason that was sent."""
        merged: dict[int, Json] = {}
        for part in self.parts:
            merge_choice(merged.setdefault(part.get("index", 0), {}), part)
        choices = [merged[i] for i in sorted(merged)]
        return Completion({"choices": choices, "usage": self.usage}, self.at)


def merge_choice(merged: Json, part: Json) -> None:
    """Append one event's choice to what earlier events sent of it."""
    merged["index"] = part.get("index", 0)
    merged["text"] = merged.get("text", "") + (part.get("text") or "")
    for name in "finish_reason", "stop_reason":
        if part.get(name) is not None or name not in merged:
            merged[name] = part.get(name)
    columns = part.get("logprobs")
    if not isinstance(columns, dict):
        merged.setdefault("logprobs", None)
        return
    earlier = merged.get("logprobs") or {}
    merged["logprobs"] = earlier | {
        name: earlier.get(name, []) + column
        for name, column in columns.items()
        if isinstance(column, list)
    }


def parse_object(text: str, at: Exchange) -> Json:
    """Parse a JSON object. Raises Failed for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        raise Failed("JSON", text[:200], at=at) from None
    if not isinstance(value, dict):
        raise Failed("a JSON object", text[:200], at=at)
    return value


def comparable(choices: Sequence[Choice]) -> list[tuple[Any, ...]]:
    """Return the parts of choices that must be equal in two equal completions."""
    return [
        (c.index, c.text, c.json.get("logprobs"), c.finish_reason, c.stop_reason) for c in choices
    ]
