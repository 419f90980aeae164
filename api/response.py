"""From the engine's events to response bodies. Streamed or not, the updates are the same."""

import time
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from api.errors import ApiError, engine_down, to_api_error
from api.prepare import PreparedRequest
from api.schema.response import (
    Choice,
    Chunk,
    Completion,
    Logprobs,
    PromptTokensDetails,
    Usage,
)
from api.stream import EngineDown, Stream
from reference.output_text import LogprobsEntry, TextDelta, echo, prompt_text, start_choice
from reference.request import Event, PromptProcessed, RequestFinished, TokenGenerated


@dataclass(frozen=True)
class ChoiceUpdate:
    """The effect of one event on one choice. usage: so far. is_last: no update follows."""

    index: int
    delta: TextDelta
    usage: Usage
    is_last: bool

    @property
    def is_empty(self) -> bool:
        delta = self.delta
        return not delta.text and not delta.entries and delta.finish_reason is None


class ResponseBuilder:
    """The response to one request. Choice i of prompt p has the index p · n + i."""

    def __init__(self, prepared: PreparedRequest) -> None:
        self.prepared = prepared
        self.id = f"cmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self._prompt_texts = [self._prompt_text(p) for p in range(len(prepared.ids))]
        self._choices = [
            start_choice(prepared.served_model.tokenizer, prepared.params, ids, text)
            for ids, text in zip(prepared.ids, self._prompt_texts, strict=True)
            for _ in range(prepared.params.n)
        ]
        self._unfinished = len(self._choices)
        self._prompt_tokens = sum(map(len, prepared.ids))
        self._completion_tokens = 0
        self._cached_tokens = 0

    def _prompt_text(self, p: int) -> str:
        """Return the text of prompt `p`; "" if it is not echoed."""
        if not self.prepared.params.echo:
            return ""
        return prompt_text(self.prepared.served_model.tokenizer, self.prepared.prompts[p])

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            total_tokens=self._prompt_tokens + self._completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._cached_tokens),
        )

    async def updates(self, events: Stream) -> AsyncIterator[list[ChoiceUpdate]]:
        """Yield the updates of each token, until the last choice has finished.

        The updates of a prompt wait for the first token: until then an error can still be the whole
        response. Raises ApiError, or EngineDown if the engine stops before the last choice.
        """
        pending: list[ChoiceUpdate] = []
        async for p, event in events:
            new = self.on_event(p, event)
            pending += new
            if not isinstance(event, TokenGenerated):
                continue
            if event.finish_reason is None and any(u.delta.finish_reason for u in new):
                events.abort(p, event.choice)  # a stop string, which the engine does not know of
            yield [update for update in pending if not update.is_empty]
            pending = []
            if not self._unfinished:
                return
        raise EngineDown

    def on_event(self, p: int, event: Event) -> list[ChoiceUpdate]:
        """Return the updates of one event of prompt `p`. Events of finished choices are ignored."""
        match event:
            case PromptProcessed():
                return self._on_prompt(p, event)
            case TokenGenerated():
                return self._on_token(p, event)
            case RequestFinished(error=Exception() as error):
                raise self._to_api_error(error) from error
        return []

    def _to_api_error(self, error: Exception) -> ApiError:
        """Convert an error of the engine; any error of a closed engine is a 503, so that the client
        retries on another server.
        """
        healthy = self.prepared.served_model.engine.stats().healthy
        return to_api_error(error) if healthy else engine_down()

    def _on_prompt(self, p: int, event: PromptProcessed) -> list[ChoiceUpdate]:
        self._cached_tokens += event.cached_tokens
        prepared, n = self.prepared, self.prepared.params.n
        if not prepared.params.echo:
            return []
        delta = echo(
            prepared.served_model.tokenizer,
            prepared.params,
            prepared.ids[p],
            self._prompt_texts[p],
            event.prompt_logprobs,
            prepared.images[p],
        )
        return [ChoiceUpdate(p * n + i, delta, self.usage, False) for i in range(n)]

    def _on_token(self, p: int, event: TokenGenerated) -> list[ChoiceUpdate]:
        index = p * self.prepared.params.n + event.choice
        choice = self._choices[index]
        if choice.finished:
            return []
        delta = choice.push(event)
        self._completion_tokens += 1
        self._unfinished -= choice.finished
        return [ChoiceUpdate(index, delta, self.usage, self._unfinished == 0)]

    def event_json(self, update: ChoiceUpdate) -> str:
        """Return the JSON of one event of a stream."""
        options = self.prepared.params.stream_options or {}
        final_usage = update.is_last and options.get("include_usage", True)
        has_usage = final_usage or options.get("continuous_usage_stats")
        usage = {"usage": update.usage} if has_usage else {}
        body = {"choices": [self._choice(update.index, [update.delta])]} | usage
        return Chunk.model_validate(self._head() | body).model_dump_json(exclude_unset=True)

    def response_json(self, updates: Iterable[ChoiceUpdate]) -> str:
        """Return the JSON of a whole response."""
        deltas: list[list[TextDelta]] = [[] for _ in self._choices]
        for update in updates:
            deltas[update.index].append(update.delta)
        choices = [self._choice(i, ds) for i, ds in enumerate(deltas)]
        body = {"choices": choices, "usage": self.usage}
        return Completion.model_validate(self._head() | body).model_dump_json()

    def _head(self) -> dict[str, Any]:
        """Return the fields that are the same in every event."""
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.prepared.served_model.name,
            "system_fingerprint": self.prepared.served_model.fingerprint,
        }

    def _choice(self, index: int, deltas: Sequence[TextDelta]) -> Choice:
        has_logprobs = self.prepared.params.logprobs is not None
        entries = [entry for delta in deltas for entry in delta.entries]
        return Choice.model_validate(
            {
                "index": index,
                "text": "".join(delta.text for delta in deltas),
                "logprobs": logprobs(entries) if has_logprobs else None,
                "finish_reason": deltas[-1].finish_reason,
                "stop_reason": deltas[-1].stop_reason,
            }
        )


def logprobs(entries: Sequence[LogprobsEntry]) -> Logprobs:
    return Logprobs(
        tokens=[entry.token for entry in entries],
        token_logprobs=[entry.logprob for entry in entries],
        top_logprobs=[entry.top for entry in entries],
        text_offset=[entry.offset for entry in entries],
    )
