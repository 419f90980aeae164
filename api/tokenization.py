"""POST /tokenize and /detokenize: the tokenizer of a served model."""

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.engine import ServedModel
from api.errors import ApiError, InvalidRequest, unknown_model
from api.schema.parsing import parse_json, read_body
from api.schema.tokenization import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from api.schema.validation_errors import error_details
from api.service import Service
from reference.output_text import TokenDisplay
from reference.prompt import UnknownToken, check_ids
from reference.tokenizer.detokenizer import decode

Body = TypeVar("Body", bound=BaseModel)


def routes(service: Service) -> list[Route]:
    """Return the routes of the tokenizer. They need a key, as completions do."""

    async def post_tokenize(request: Request) -> Response:
        """Handle POST /tokenize."""
        service.keys.principal(request.headers)
        content = await read_body(request, service.max_body_bytes)
        return await asyncio.to_thread(tokenize, service, content)

    async def post_detokenize(request: Request) -> Response:
        """Handle POST /detokenize."""
        service.keys.principal(request.headers)
        content = await read_body(request, service.max_body_bytes)
        return await asyncio.to_thread(detokenize, service, content)

    return [
        Route("/tokenize", post_tokenize, methods=["POST"]),
        Route("/detokenize", post_detokenize, methods=["POST"]),
    ]


def tokenize(service: Service, content: bytes) -> Response:
    """Return the tokens of a text. Raises InvalidRequest, and ApiError 404."""
    body = parse(TokenizeRequest, content)
    model = served_model(service, body.model)
    tokens = model.tokenizer.encode(body.prompt, add_bos=body.add_special_tokens)
    name = TokenDisplay(model.tokenizer, as_ids=False).name
    result = TokenizeResponse(
        count=len(tokens),
        max_model_len=model.context,
        tokens=tokens,
        token_strs=[name(token) for token in tokens] if body.return_token_strs else None,
    )
    return JSONResponse(result.model_dump())


def detokenize(service: Service, content: bytes) -> Response:
    """Return the text of tokens. Raises InvalidRequest, and ApiError 404 or 400."""
    body = parse(DetokenizeRequest, content)
    model = served_model(service, body.model)
    try:
        check_ids(body.tokens, model.vocab_size, "tokens")
    except UnknownToken as error:
        raise ApiError(400, "unknown_token", str(error), "tokens") from error
    return JSONResponse(
        DetokenizeResponse(prompt=decode(model.tokenizer, body.tokens)).model_dump()
    )


def parse(model: type[Body], content: bytes) -> Body:
    """Parse and validate a body. Raises InvalidRequest with every error."""
    try:
        return model.model_validate(parse_json(content))
    except ValidationError as error:
        raise InvalidRequest(error_details(error)) from None


def served_model(service: Service, name: str) -> ServedModel:
    """Return a model by name. Raises ApiError 404."""
    if name not in service.handles:
        raise unknown_model(name)
    return service.handles[name].served_model
