"""What a valid request asks of one model, and what the model cannot do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from api.engine import Served
from api.errors import REFUSALS, of_engine
from api.schema.request import CompletionRequest
from reference.grammar.language.expressions import Language
from reference.grammar.response_format import compile_format
from reference.images.placement import expand_placeholders as place_images
from reference.images.placement import reject_images
from reference.params import CompletionParams
from reference.prompt import prompt_ids
from reference.request import ImageSpan, Request


@dataclass(frozen=True, kw_only=True)
class Order:
    """prompts: as they were sent. ids: their tokens, as the model reads them, and images: where
    those of each prompt stand. language: what the answers must be.
    """

    served: Served
    params: CompletionParams
    prompts: Sequence[str | list[int]]
    ids: Sequence[list[int]]
    images: Sequence[tuple[ImageSpan, ...]]
    principal: str
    language: Language | None = None

    @property
    def requests(self) -> list[Request]:
        """One for each prompt, which is answered as it would be alone. Without a seed each draws
        its own.
        """
        return [
            Request.of(ids, self.params, self.principal, self.language, images)
            for ids, images in zip(self.ids, self.images, strict=True)
        ]


def place(served: Served, asked: CompletionRequest, principal: str) -> Order:
    """Raises ApiError 400 for what this model cannot do."""
    params, prompts = asked.params(), asked.prompts()
    try:
        if served.sight is None:
            reject_images(params.data)
        language = compile_format(params.response_format)
        as_sent = [
            prompt_ids(served.tokenizer, prompt, served.vocab_size, served.context)
            for prompt in prompts
        ]
        placed = place_images(as_sent, params.data, served.sight, served.context)
    except REFUSALS as error:
        raise of_engine(error) from error
    asked.data = None  # nobody needs megabytes of base64 while the answer is generated
    return Order(
        served=served,
        params=replace(params, data=None),
        prompts=prompts,
        ids=[ids for ids, _ in placed],
        images=[images for _, images in placed],
        principal=principal,
        language=language,
    )
