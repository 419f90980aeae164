"""From an engine's events to what is sent: the same steps, whether they are streamed or not."""

import time
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from api.engine import EngineDown, Stream
from api.errors import ApiError, engine_down, of_engine
from api.prepare import Order
from api.schema.response import (
    Choice,
    Chunk,
    Completion,
    Logprobs,
    PromptTokensDetails,
    Usage,
)
from reference.output_text import LogprobsEntry, TextDelta, echo, prompt_text, start_choice
from reference.request import Event, PromptProcessed, RequestFinished, TokenGenerated


@dataclass(frozen=True)
class Step:
    """What one event adds to one choice. usage: up to here. last: whether nothing follows."""

    index: int
    delta: TextDelta
    usage: Usage
    last: bool

    @property
    def silent(self) -> bool:
        delta = self.delta
        return not delta.text and not delta.entries and delta.finish_reason is None


class Answer:
    """The answer to one request. Choice i of prompt p has the index p · n + i."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.id = f"cmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self._texts = [self._text(p) for p in range(len(order.ids))]
        self._choices = [
            start_choice(order.served.tokenizer, order.params, ids, text)
            for ids, text in zip(order.ids, self._texts, strict=True)
            for _ in range(order.params.n)
        ]
        self._open = len(self._choices)
        self._prompt_tokens = sum(map(len, order.ids))
        self._completion_tokens = 0
        self._cached_tokens = 0

    def _text(self, p: int) -> str:
        """The text of a prompt, if anybody will see it."""
        order = self.order
        return prompt_text(order.served.tokenizer, order.prompts[p]) if order.params.echo else ""

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            total_tokens=self._prompt_tokens + self._completion_tokens,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=self._cached_tokens),
        )

    async def follow(self, events: Stream) -> AsyncIterator[list[Step]]:
        """The steps of each token; those of a prompt come with the first token after it, for until
        then an error may still be the whole answer.

        Ends with the last choice. Raises ApiError, or EngineDown if the engine ends before that.
        """
        steps: list[Step] = []
        async for p, event in events:
            steps += (new := self.take(p, event))
            if not isinstance(event, TokenGenerated):
                continue
            if event.finish_reason is None and any(step.delta.finish_reason for step in new):
                events.abort(p, event.choice)  # a stop string: the engine knows nothing of it
            yield [step for step in steps if not step.silent]
            steps = []
            if not self._open:
                return
        raise EngineDown

    def take(self, p: int, event: Event) -> list[Step]:
        """The steps of one event of prompt `p`. What comes after the end of a choice is ignored."""
        match event:
            case PromptProcessed():
                return self._read(p, event)
            case TokenGenerated():
                return self._grow(p, event)
            case RequestFinished(error=Exception() as error):
                raise self._told(error) from error
        return []

    def _told(self, error: Exception) -> ApiError:
        """What the client is told. Whatever ended the engine has ended its requests with it, and
        another server may still answer them.
        """
        return of_engine(error) if self.order.served.engine.stats().healthy else engine_down()

    def _read(self, p: int, event: PromptProcessed) -> list[Step]:
        self._cached_tokens += event.cached_tokens
        if not self.order.params.echo:
            return []
        order, n = self.order, self.order.params.n
        tokenizer, ids = order.served.tokenizer, order.ids[p]
        images = order.images[p]
        delta = echo(tokenizer, order.params, ids, self._texts[p], event.prompt_logprobs, images)
        return [Step(p * n + i, delta, self.usage, False) for i in range(n)]

    def _grow(self, p: int, event: TokenGenerated) -> list[Step]:
        index = p * self.order.params.n + event.choice
        choice = self._choices[index]
        if choice.finished:
            return []
        delta = choice.push(event)
        self._completion_tokens += 1
        self._open -= choice.finished
        return [Step(index, delta, self.usage, self._open == 0)]

    def chunk(self, step: Step) -> str:
        """The JSON of one event."""
        options = self.order.params.stream_options or {}
        shown = step.last and options.get("include_usage", True)
        usage = {"usage": step.usage} if shown or options.get("continuous_usage_stats") else {}
        body = {"choices": [self._choice(step.index, [step.delta])]} | usage
        return Chunk.model_validate(self._head() | body).model_dump_json(exclude_unset=True)

    def whole(self, steps: Iterable[Step]) -> str:
        """The JSON of a whole response."""
        deltas: list[list[TextDelta]] = [[] for _ in self._choices]
        for step in steps:
            deltas[step.index].append(step.delta)
        choices = [self._choice(i, ds) for i, ds in enumerate(deltas)]
        body = {"choices": choices, "usage": self.usage}
        return Completion.model_validate(self._head() | body).model_dump_json()

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.order.served.name,
            "system_fingerprint": self.order.served.fingerprint,
        }

    def _choice(self, index: int, deltas: Sequence[TextDelta]) -> Choice:
        asked = self.order.params.logprobs is not None
        return Choice.model_validate(
            {
                "index": index,
                "text": "".join(delta.text for delta in deltas),
                "logprobs": logprobs([e for d in deltas for e in d.entries]) if asked else None,
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
