"""What a valid request asks of one model, and what the model cannot do."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.engine import Served
from api.errors import ApiError, of_engine
from api.wire import CompletionRequest
from reference.language.expressions import Language
from reference.params import CompletionParams
from reference.prompt import EmptyPrompt, UnknownToken, prompt_ids
from reference.request import Request
from reference.response_format import UnsupportedFormat, language_of
from reference.stopping import ContextLengthExceeded


@dataclass(frozen=True, kw_only=True)
class Order:
    """prompts: as they were sent. ids: their tokens. language: what the answers must be."""

    served: Served
    params: CompletionParams
    prompts: Sequence[str | list[int]]
    ids: Sequence[list[int]]
    principal: str
    language: Language | None = None

    @property
    def requests(self) -> list[Request]:
        """One for each prompt, which is answered as it would be alone. Without a seed each draws
        its own.
        """
        return [Request.of(ids, self.params, self.principal, self.language) for ids in self.ids]


def place(served: Served, asked: CompletionRequest, principal: str) -> Order:
    """Raises ApiError 400 for what this model cannot do."""
    params = asked.params()
    refuse_images(asked)
    prompts = asked.prompts()
    try:
        language = language_of(params.response_format)
        ids = [
            prompt_ids(served.tokenizer, prompt, served.vocab_size, served.context)
            for prompt in prompts
        ]
    except (UnsupportedFormat, EmptyPrompt, UnknownToken, ContextLengthExceeded) as error:
        raise of_engine(error) from error
    return Order(
        served=served,
        params=params,
        prompts=prompts,
        ids=ids,
        principal=principal,
        language=language,
    )


def refuse_images(asked: CompletionRequest) -> None:
    if asked.data is not None and asked.data.image:
        raise ApiError(400, "text_only_model", "This model reads text only, no images", "data")
