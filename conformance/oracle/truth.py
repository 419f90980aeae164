"""What the reference says, with the server's own weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from conformance.harness.capabilities import TOKEN_ID
from conformance.http.response import Choice, Rows
from conformance.verdicts import Inconclusive, Unsupported
from reference import sampler
from reference.bundle import Bundle
from reference.generate import generate
from reference.grammar.response_format import compile_format
from reference.images.placement import ImagesUnsupported, expand_placeholders, image_uris
from reference.logits import Logits, probabilities
from reference.logprobs import log_softmax
from reference.output_text import TokenDisplay, prompt_text, start_choice
from reference.params import CompletionParams
from reference.prompt import prompt_ids
from reference.request import ImageSpan, PromptProcessed, Request, TokenGenerated, TokenLogprobs
from reference.sampler import SamplingHistory

# Of a log-probability, in float32 on either side: reading hundreds of tokens, two ways to add up
# differ by a few 1e-5 of a logit. Weights or arithmetic of fewer bits need more: --tolerance.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Step:
    """One step of decoding: the model's logits, what the choice looks back on, and the token that
    the server chose.
    """

    logits: Logits
    history: SamplingHistory
    token: int


def as_it_is(history: SamplingHistory) -> SamplingHistory:
    """A copy: what a choice looks back on changes as it goes on."""
    allowed, seen, counts = (x.copy() for x in (history.allowed, history.seen, history.counts))
    return replace(history, allowed=allowed, seen=seen, counts=counts)


class Truth:
    """The reference model. tolerance: how far a log-probability of the server may be off.

    Where parameters are given, `data` may be among them: the images of the prompt.
    """

    def __init__(self, model: Bundle, tolerance: float = TOLERANCE) -> None:
        self.model, self.tolerance = model, tolerance
        self._first = lru_cache(256)(self._read)
        self._spelled = lru_cache(50_000)(self._spell)

    @property
    def special(self) -> frozenset[int]:
        """Tokens that are no text, and that a prompt may have: a placeholder wants an image."""
        sight = self.model.sight
        return self.model.tokenizer.special_ids - (frozenset() if sight is None else {sight.token})

    def ids(self, prompt: str | Sequence[int]) -> tuple[int, ...]:
        """Of a prompt as it is sent."""
        model = self.model
        return tuple(prompt_ids(model.tokenizer, prompt, model.vocab_size, model.context))

    def placed(
        self, prompt: str | Sequence[int], data: Mapping[str, Any] | None
    ) -> tuple[tuple[int, ...], tuple[ImageSpan, ...]]:
        """The ids of a prompt with a place for each row of its images, and where these stand.
        Raises Inconclusive if the checkpoint reads text only.
        """
        ids = self.ids(prompt)
        if not image_uris(data):
            return ids, ()
        try:
            [(expanded, images)] = expand_placeholders(
                [ids], data, self.model.sight, self.model.context
            )
        except ImagesUnsupported:
            raise Inconclusive("the checkpoint of --truth reads text only") from None
        return tuple(expanded), images

    def logits(self, prompt: str | Sequence[int]) -> Logits:
        """(V,): of the token after a prompt."""
        return self._first(self.ids(prompt), ())

    def logprobs(self, prompt: str | Sequence[int]) -> Logits:
        """(V,): of the token after a prompt, as they are reported."""
        return log_softmax(self.logits(prompt))

    def _read(self, ids: tuple[int, ...], images: tuple[str, ...]) -> Logits:
        [step] = self.steps(ids, {"data": {"image": images}}, [0])
        return step.logits

    def steps(
        self, prompt: str | Sequence[int], params: dict[str, Any], output: Sequence[int]
    ) -> list[Step]:
        """What the reference has before it at each step of an output that the server chose. Less
        than `output` if that goes on after its end, or after a token that its format forbids.
        """
        found: list[Step] = []
        if not output:
            return found
        asked = CompletionParams(**params | {"max_tokens": len(output), "n": 1})

        def follow(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
            token = int(output[len(found)])
            found.append(Step(logits, as_it_is(history), token))
            return token

        language = compile_format(asked.response_format)
        ids, images = self.placed(prompt, asked.data)
        request = Request(prompt=ids, params=asked, seed=0, language=language, images=images)
        for _ in generate(self.model, request, sample=follow):
            if language and found and not found[-1].history.allowed[found[-1].token]:
                break
        return found

    def first(self, prompt: str | Sequence[int], params: dict[str, Any]) -> Step:
        """The step after a prompt; no token is chosen. params: without a response_format."""
        ids = self.ids(prompt)
        asked = CompletionParams(**params | {"n": 1})
        logits = self._first(ids, tuple(image_uris(asked.data)))
        ends = frozenset(self.model.checkpoint.eos_token_ids) | frozenset(asked.stop_token_ids)
        size = self.model.vocab_size
        seen = np.zeros(size, np.bool_)
        seen[list(ids)] = True
        allowed = sampler.allowed_tokens(size, self.model.never, ends)
        counts = np.zeros(size, np.int64)
        history = SamplingHistory(params=asked, allowed=allowed, seen=seen, counts=counts)
        return Step(logits, history, -1)

    def prompt_reports(
        self, prompt: str | Sequence[int], top: int, data: Mapping[str, Any] | None = None
    ) -> Sequence[TokenLogprobs | None]:
        """The rows of an echoed prompt."""
        params = CompletionParams(max_tokens=1, echo=True, logprobs=top)
        ids, images = self.placed(prompt, data)
        request = Request(prompt=ids, params=params, seed=0, images=images)
        event = next(iter(generate(self.model, request)))
        assert isinstance(event, PromptProcessed) and event.prompt_logprobs is not None
        return event.prompt_logprobs

    def text(self, prompt: str | Sequence[int], token: int) -> str:
        """Of an output of one token, with max_tokens 1."""
        return self._spelled(prompt if isinstance(prompt, str) else tuple(prompt), token)

    def _spell(self, prompt: str | tuple[int, ...], token: int) -> str:
        words = self.model.tokenizer
        text = start_choice(words, CompletionParams(), self.ids(prompt), prompt_text(words, prompt))
        ended = token in self.model.checkpoint.eos_token_ids
        event = TokenGenerated(choice=0, token=token, finish_reason="stop" if ended else "length")
        return text.push(event).text

    def texts(self, prompt: str | Sequence[int], final: Logits) -> dict[str, float]:
        """The probability of each text of one token: those of tokens of one text add up."""
        p = probabilities(final)
        found: dict[str, float] = {}
        for token in np.flatnonzero(p > 0):
            text = self.text(prompt, int(token))
            found[text] = found.get(text, 0.0) + float(p[token])
        return found

    @cached_property
    def by_name(self) -> dict[str, int | None]:
        """Token ids by what they are called in `logprobs`; None for a name of several."""
        names = TokenDisplay(self.model.tokenizer, as_ids=False)
        found: dict[str, int | None] = {}
        for token in range(self.model.vocab_size):
            name = names.name(token)
            found[name] = None if name in found else token
        return found

    def token_ids(self, choice: Choice) -> list[int]:
        """The ids of a choice that has logprobs. Raises Unsupported if names do not tell them."""
        return [self.token_id(name, choice.rows) for name in choice.rows.tokens]

    def token_id(self, name: str, rows: Rows | None = None) -> int:
        if match := TOKEN_ID.fullmatch(name):
            return int(match[1])
        token = self.by_name.get(name)
        if token is None:
            raise Unsupported(f"no one token of the checkpoint is called {name!r}")
        return token
