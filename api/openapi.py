"""The OpenAPI 3.1 document, made from the pydantic models of the bodies."""

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.routing import BaseRoute

from api.schema.request import CompletionRequest
from api.schema.response import (
    Chunk,
    Completion,
    DetailBody,
    ErrorBody,
    Health,
    InvalidBody,
    Live,
    Model,
    ModelList,
    Version,
)
from api.schema.tokenization import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from api.service import Service

Json = dict[str, Any]

RESPONSES = (
    *(Chunk, Completion, TokenizeResponse, DetokenizeResponse),
    *(Health, Live, Model, ModelList, Version),
    *(DetailBody, ErrorBody, InvalidBody),
)

ERRORS: dict[int, tuple[str, type[BaseModel]]] = {
    400: (
        "this model cannot serve it: prompt too long, too many sequences, format unsupported, …",
        ErrorBody,
    ),
    401: ("no key, or an invalid one", DetailBody),
    403: (
        "a server without keys on a loopback address refuses other hosts and web pages",
        ErrorBody,
    ),
    404: ("the model is not served here", ErrorBody),
    413: ("the body is too large", ErrorBody),
    422: ("the body is not JSON, or fields are invalid; lists every error", InvalidBody),
    429: ("too many sequences in flight", ErrorBody),
    500: ("the engine failed", ErrorBody),
    503: ("the server is shutting down, or the engine is down", ErrorBody),
    504: ("the request was not finished in time", ErrorBody),
}
RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
CHALLENGE = {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}}
HEADERS = {401: CHALLENGE, 429: RETRY, 503: RETRY}
IGNORED = {
    "x-ignored-parameters": {
        "description": "unknown fields, which have no effect; percent-encoded, comma-separated",
        "schema": {"type": "string"},
    }
}


class Extension(Protocol):
    """A package that adds routes to the app, and their operations to the document."""

    def routes(self, service: Service) -> Sequence[BaseRoute]: ...

    def bodies(self, request: type[CompletionRequest]) -> Sequence[type[BaseModel]]:
        """Return the request bodies of the operations. request: that of a completion."""

    def paths(self, service: Service) -> Json: ...


def document(service: Service, extensions: Sequence[Extension] = ()) -> Json:
    """Return the document of one server, with its limits.

    The bounds of token ids are included if it serves a single model. If all its models are
    text-only, the list of images must be empty.
    """
    handles = list(service.handles.values())
    single = len(service.served_models) == 1
    request = handles[0].request_type if single else service.generic_request_type
    schemes: Json = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "xi-api-key": {"type": "apiKey", "in": "header", "name": "xi-api-key"},
    }
    bodies = [body for extension in extensions for body in extension.bodies(request)]
    operations = paths(service)
    for extension in extensions:
        operations |= extension.paths(service)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Text completions", "version": "1"},
        "paths": operations,
        "components": {"schemas": schemas(service, request, bodies), "securitySchemes": schemes},
        "security": [{name: []} for name in schemes] if service.keys.digests else [],
    }


def schemas(
    service: Service, request: type[CompletionRequest], bodies: Sequence[type[BaseModel]]
) -> Json:
    inputs: list[type[BaseModel]] = [request, TokenizeRequest, DetokenizeRequest, *bodies]
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(m, "validation") for m in inputs]
    models += [(model, "serialization") for model in RESPONSES]
    _, schema = models_json_schema(models, ref_template="#/components/schemas/{model}")
    result: Json = schema["$defs"]
    if is_text_only(service):
        result["Data"]["properties"]["image"]["maxItems"] = 0
    for body in (request, *bodies):
        result[body.__name__]["properties"]["model"]["examples"] = list(service.handles)
        result[body.__name__]["additionalProperties"] = not service.strict
    return result


def is_text_only(service: Service) -> bool:
    """Return whether every served model refuses images."""
    return all(h.served_model.image_processor is None for h in service.handles.values())


def paths(service: Service) -> Json:
    result: Json = {
        "/live": {"get": public("live", "whether the process works", Live, 200, 503)},
        "/ready": {"get": public("ready", "whether requests are accepted", Health, 200, 503)},
        "/health": {"get": public("health", "whether requests are accepted", Health, 200, 503)},
        "/version": {"get": public("version", "the version of the server", Version, 200)},
        "/metrics": {"get": metrics_operation()},
        "/tokenize": {"post": tokenizer_operation("tokenize", TokenizeRequest, TokenizeResponse)},
        "/detokenize": {
            "post": tokenizer_operation("detokenize", DetokenizeRequest, DetokenizeResponse)
        },
        "/openapi.json": {"get": public("openapi", "this document", None, 200)},
    }
    for prefix, tag in ("/v1/openai", "openai_"), ("/v1", ""):
        result[f"{prefix}/completions"] = {
            "post": completions_operation(f"{tag}completions", service)
        }
        result[f"{prefix}/models"] = {"get": models_operation(f"{tag}models")}
        result[f"{prefix}/models/{{name}}"] = {"get": model_operation(f"{tag}model")}
    return result


def completions_operation(name: str, service: Service) -> Json:
    content = {"application/json": {"schema": ref(CompletionRequest)}}
    success = response("the completion, or with `stream` its events", Completion)
    success["content"]["text/event-stream"] = {"schema": event_schema()}
    return {
        "operationId": name,
        "summary": "continue a prompt",
        "description": f"At most {service.max_concurrency} sequences (prompts × n) of a model run "
        f"at a time. A response has at most {service.max_response_values} values: 1 + logprobs for "
        "each token of max_tokens, and of the prompt with echo, in every sequence.",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": success | {"headers": IGNORED}} | errors(*ERRORS),
    }


def event_schema() -> Json:
    """Return the schema of a server-sent event: a chunk, an error, or the end mark."""
    content = {"anyOf": [ref(Chunk), ref(ErrorBody)]}
    json_text = {"contentMediaType": "application/json", "contentSchema": content}
    data = {"type": "string", "anyOf": [{"const": "[DONE]"}, json_text]}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def models_operation(name: str) -> Json:
    responses = {"200": response("the served models", ModelList)} | errors(401, 403)
    return {"operationId": name, "summary": "list the served models", "responses": responses}


def model_operation(name: str) -> Json:
    path = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    responses = {"200": response("the model", Model)} | errors(401, 403, 404)
    # A name with a line break does not match the route, and gets the 404 of an unknown path.
    unknown = {"anyOf": [ref(ErrorBody), ref(DetailBody)]}
    responses["404"]["content"] = {"application/json": {"schema": unknown}}
    return {
        "operationId": name,
        "summary": "get one served model",
        "parameters": [path],
        "responses": responses,
    }


def tokenizer_operation(name: str, body: type[BaseModel], result: type[BaseModel]) -> Json:
    content = {"application/json": {"schema": ref(body)}}
    return {
        "operationId": name,
        "summary": f"{name} with the tokenizer of a model",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": response("the result", result)} | errors(400, 401, 403, 404, 413, 422),
    }


def metrics_operation() -> Json:
    result = public("metrics", "metrics for Prometheus", None, 200)
    result["responses"]["200"]["content"] = {
        name: {"schema": {"type": "string"}}
        for name in ("text/plain", "application/openmetrics-text")
    }
    return result


def public(name: str, summary: str, body: type[BaseModel] | None, *statuses: int) -> Json:
    """Return an operation that needs no key."""
    responses = {str(status): response(summary, body) for status in statuses} | errors(403)
    return {"operationId": name, "summary": summary, "security": [], "responses": responses}


def errors(*statuses: int) -> Json:
    return {
        str(status): response(*ERRORS[status]) | {"headers": HEADERS.get(status, {})}
        for status in statuses
    }


def response(description: str, body: type[BaseModel] | None) -> Json:
    schema = ref(body) if body else {"type": "object"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def ref(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
