"""The bodies of `/tokenize` and `/detokenize`, as vLLM has them."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictBool, StrictInt, StrictStr

from api.schema.request import to_integers

STRICT = ConfigDict(extra="forbid")


class TokenizeRequest(BaseModel):
    """add_special_tokens: whether the tokenizer's BOS is put first; one that the prompt begins with
    is always included. return_token_strs: whether the text of each token is.
    """

    model_config = STRICT

    model: StrictStr
    prompt: StrictStr
    add_special_tokens: StrictBool = True
    return_token_strs: StrictBool = False


class TokenizeResponse(BaseModel):
    """count: number of tokens. max_model_len: the context of the model, in tokens."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeRequest(BaseModel):
    """tokens: ids of the model."""

    model_config = STRICT

    model: StrictStr
    tokens: Annotated[list[StrictInt], BeforeValidator(to_integers)]


class DetokenizeResponse(BaseModel):
    """prompt: the text of the tokens, without a leading BOS."""

    prompt: str
