"""From the engine's events to response bodies. Streamed or not, the updates are the same.

The entries of an echoed prompt are encoded once, and shared by its choices.
"""

import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import chain
from typing import Any

from api.choices import ChoiceBuilder, ChoiceUpdate, choice_json
from api.encoding import Buffer, encode, fill_arrays, joined
from api.errors import ApiError, engine_down, to_api_error
from api.prepare import PreparedRequest
from api.schema.response import Chunk, Completion, PromptTokensDetails, Usage
from api.stream import EngineDown, Stream
from reference.output_text import TextDelta, echo_entries, prompt_text, start_choice
from reference.request import Event, PromptProcessed, RequestFinished, TokenGenerated


class ResponseBuilder:
    """The response to one request. Choice i of prompt p has the index p · n + i."""

    def __init__(self, prepared: PreparedRequest) -> None:
        self.prepared = prepared
        self.id = f"cmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self._event = event_parts(self._head())
        self._prompt_texts = [self._prompt_text(p) for p in range(len(prepared.ids))]
        self._choices = [
            start_choice(prepared.served_model.tokenizer, prepared.params, ids, text)
            for ids, text in zip(prepared.ids, self._prompt_texts, strict=True)
            for _ in range(prepared.params.n)
        ]
        self._unfinished = len(self._choices)
        self._prompt_tokens = sum(map(len, prepared.ids))
        self._completion_tokens = 0
        self.finish_reasons: Counter[str] = Counter()
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
            new = await self.on_event(p, event)
            pending += new
            if not isinstance(event, TokenGenerated):
                continue
            if new and event.finish_reason is None and new[-1].delta.finish_reason is not None:
                events.abort(p, event.choice)  # a stop string, which the engine does not know of
            yield [update for update in pending if not update.is_empty]
            pending = []
            if not self._unfinished:
                return
        raise EngineDown

    async def on_event(self, p: int, event: Event) -> list[ChoiceUpdate]:
        """Return the updates of one event of prompt `p`. Events of finished choices are ignored."""
        match event:
            case PromptProcessed():
                return await self._on_prompt(p, event)
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

    async def _on_prompt(self, p: int, event: PromptProcessed) -> list[ChoiceUpdate]:
        self._cached_tokens += event.cached_tokens
        prepared, n, text = self.prepared, self.prepared.params.n, self._prompt_texts[p]
        if not prepared.params.echo:
            return []
        logprobs = None
        if event.prompt_logprobs is not None:
            entries = echo_entries(
                prepared.served_model.tokenizer,
                prepared.params,
                prepared.ids[p],
                text,
                event.prompt_logprobs,
                prepared.images[p],
            )
            logprobs = await encode(entries)
        delta, usage = TextDelta(text), self._event_usage()
        return [ChoiceUpdate(p * n + i, delta, usage, logprobs) for i in range(n)]

    def _on_token(self, p: int, event: TokenGenerated) -> list[ChoiceUpdate]:
        index = p * self.prepared.params.n + event.choice
        choice = self._choices[index]
        if choice.finished:
            return []
        delta = choice.push(event)
        self._completion_tokens += 1
        if delta.finish_reason is not None:
            self._unfinished -= 1
            self.finish_reasons[delta.finish_reason] += 1
        return [ChoiceUpdate(index, delta, self._event_usage())]

    def _event_usage(self) -> Usage | None:
        """Return the usage for the current event of a stream; None if the event has none."""
        options = self.prepared.params.stream_options or {}
        is_last = not self._unfinished and options.get("include_usage", True)
        return self.usage if is_last or options.get("continuous_usage_stats") else None

    def event_json(self, update: ChoiceUpdate) -> bytes | Iterable[Buffer]:
        """Return the JSON of one event of a stream, in pieces if it has many entries."""
        usage = update.usage
        head, tail = self._event if usage is None else event_parts(self._head() | {"usage": usage})
        if update.prompt_logprobs is None:  # a token: few entries
            choice = choice_json(update.index, update.delta, self._logprobs)
            return b"%b%b%b" % (head, choice, tail)
        builder = ChoiceBuilder()
        builder.add(update)
        return chain([head], builder.json(update.index, self._logprobs), [tail])

    def response_json(self, choices: Sequence[ChoiceBuilder]) -> list[Buffer]:
        """Return the JSON of a whole response in pieces."""
        completion = Completion.model_validate(self._head() | {"usage": self.usage})
        items = joined(choice.json(i, self._logprobs) for i, choice in enumerate(choices))
        return list(fill_arrays(completion.model_dump_json().encode(), {"choices": items}))

    async def choices(self, events: Stream) -> list[ChoiceBuilder]:
        """Return all choices when the last one has finished. Raises as `updates` does."""
        choices = [ChoiceBuilder() for _ in self._choices]
        async for updates in self.updates(events):
            for update in updates:
                choices[update.index].add(update)
        return choices

    @property
    def _logprobs(self) -> bool:
        return self.prepared.params.logprobs is not None

    def _head(self) -> dict[str, Any]:
        """Return the fields that are the same in every event, without choices."""
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.prepared.served_model.name,
            "system_fingerprint": self.prepared.served_model.fingerprint,
            "choices": [],
        }


def event_parts(fields: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return the JSON of an event of a stream, before and after its choice."""
    json = Chunk.model_validate(fields).model_dump_json(exclude_unset=True).encode()
    start = b'"choices":['  # in no string, where quotes are escaped
    head, tail = json.split(start, 1)
    return head + start, tail
