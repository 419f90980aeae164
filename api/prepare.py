"""From a validated body to the requests for the engine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from api.engine import ServedModel
from api.errors import BAD_REQUESTS, response_too_large, to_api_error
from api.schema.request import CompletionRequest
from reference.grammar.language.expressions import Language
from reference.grammar.response_format import compile_format
from reference.images.placement import expand_placeholders
from reference.input_limits import reject_oversized_text
from reference.params import CompletionParams
from reference.prompt import prompt_ids
from reference.request import ImageSpan, Request
from reference.stopping import resolve_stop_strings, token_budget


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """A request for one model, tokenized, with decoded images.

    prompts: as received. ids: the token ids of each prompt, with expanded image placeholders.
    images: the image spans of each prompt. language: the outputs that `response_format` allows.
    """

    served_model: ServedModel
    params: CompletionParams
    prompts: Sequence[str | list[int]]
    ids: Sequence[list[int]]
    images: Sequence[tuple[ImageSpan, ...]]
    principal: str
    language: Language | None = None

    @property
    def requests(self) -> list[Request]:
        """One independent request per prompt. Without a seed each draws its own."""
        params = resolve_stop_strings(self.params, self.served_model.vocabulary)
        return [
            Request.of(ids, params, self.principal, self.language, images)
            for ids, images in zip(self.ids, self.images, strict=True)
        ]


def check_response_values(prepared: PreparedRequest, limit: int) -> None:
    """Raise ApiError 400 if a response can have more than `limit` values.

    Each token of the output, and with `echo` of the prompt, has 1 + `logprobs` values. They are
    held in memory until the response is sent.
    """
    params, context = prepared.params, prepared.served_model.context
    tokens = sum(
        token_budget(params.max_tokens, context, len(ids)) + (len(ids) if params.echo else 0)
        for ids in prepared.ids
    )
    values = tokens * params.n * (1 + (params.logprobs or 0))
    if values > limit:
        raise response_too_large(values, limit)


def prepare(served_model: ServedModel, body: CompletionRequest, principal: str) -> PreparedRequest:
    """Tokenize the prompts, decode the images and compile the response format.

    Raises ApiError 400 if this model cannot serve the request. The result does not keep the
    base64 of the images.
    """
    params, prompts = body.params(), body.prompts()
    context = served_model.context
    try:
        language = compile_format(params.response_format)
        for prompt in prompts:
            reject_oversized_text(served_model.tokenizer, prompt, context)
        tokenized = [
            prompt_ids(served_model.tokenizer, prompt, served_model.vocab_size, context)
            for prompt in prompts
        ]
        expanded = expand_placeholders(
            tokenized, params.data, served_model.image_processor, context
        )
    except tuple(BAD_REQUESTS) as error:
        raise to_api_error(error) from error
    return PreparedRequest(
        served_model=served_model,
        params=replace(params, data=None),
        prompts=prompts,
        ids=[ids for ids, _ in expanded],
        images=[images for _, images in expanded],
        principal=principal,
        language=language,
    )
