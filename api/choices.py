"""One choice of a response: the updates that it consists of, and its JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO

from pydantic_core import to_json

from api.encoding import Buffer, LogprobsJson, fill_arrays, joined
from api.schema.response import Logprobs, Usage
from reference.output_text import LogprobsEntry, TextDelta


@dataclass(frozen=True)
class ChoiceUpdate:
    """The effect of one event on one choice.

    usage: so far, if the event of a stream is to have it. prompt_logprobs: the entries of an echoed
    prompt, which its choices share. `delta` has the text.
    """

    index: int
    delta: TextDelta
    usage: Usage | None = None
    prompt_logprobs: LogprobsJson | None = None

    @property
    def is_empty(self) -> bool:
        delta = self.delta
        has_entries = delta.entries or self.prompt_logprobs is not None
        return not delta.text and not has_entries and delta.finish_reason is None


@dataclass
class ChoiceBuilder:
    """A choice, or a part of it: joined updates.

    prompt_logprobs: the entries of the echoed prompt. logprobs: those of the output.
    """

    text: StringIO = field(default_factory=StringIO)
    prompt_logprobs: LogprobsJson | None = None
    logprobs: LogprobsJson = field(default_factory=LogprobsJson)
    finish_reason: str | None = None
    stop_reason: str | int | None = None

    def add(self, update: ChoiceUpdate) -> None:
        delta = update.delta
        self.text.write(delta.text)
        self.prompt_logprobs = update.prompt_logprobs or self.prompt_logprobs
        self.logprobs.append(delta.entries)
        self.finish_reason, self.stop_reason = delta.finish_reason, delta.stop_reason

    def json(self, index: int, has_logprobs: bool) -> Iterator[Buffer]:
        """Yield the JSON of the choice in pieces."""
        parts = [part for part in (self.prompt_logprobs, self.logprobs) if part and part.tokens]
        last = TextDelta(self.text.getvalue(), (), self.finish_reason, self.stop_reason)
        choice = choice_json(index, last, has_logprobs)
        names = Logprobs.model_fields if has_logprobs else ()
        arrays = {name: joined([[getattr(part, name)] for part in parts]) for name in names}
        return fill_arrays(choice, arrays)


def choice_json(index: int, delta: TextDelta, has_logprobs: bool) -> bytes:
    """Return the JSON of a choice, or of a part of it: that of `schema.response.Choice`. To build
    and validate the model would take longer than everything else for a token.
    """
    choice = {
        "index": index,
        "text": delta.text,
        "logprobs": logprobs(delta.entries) if has_logprobs else None,
        "finish_reason": delta.finish_reason,
        "stop_reason": delta.stop_reason,
    }
    return to_json(choice, inf_nan_mode="null")


def logprobs(entries: Sequence[LogprobsEntry]) -> dict[str, list[object]]:
    """Return the columns of `schema.response.Logprobs`."""
    return {
        "tokens": [entry.token for entry in entries],
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [entry.top for entry in entries],
        "text_offset": [entry.offset for entry in entries],
    }
