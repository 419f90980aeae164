"""The OpenAPI 3.1 document, made from the pydantic models that read and write the bodies."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api.schema.request import CompletionRequest
from api.schema.response import (
    Chunk,
    Completion,
    DetailBody,
    ErrorBody,
    Health,
    InvalidBody,
    Model,
    ModelList,
)
from api.service import Service

Json = dict[str, Any]

SENT = (Chunk, Completion, DetailBody, ErrorBody, Health, InvalidBody, Model, ModelList)

ERRORS: dict[int, tuple[str, type[BaseModel]]] = {
    400: ("this model cannot do that: the prompt is too long, the format unsupported", ErrorBody),
    401: ("no key, or a wrong one", DetailBody),
    404: ("the model is not served here", ErrorBody),
    413: ("the body is too large", ErrorBody),
    422: ("the body is no JSON, or fields are wrong: every error at once", InvalidBody),
    429: ("too many requests in flight", ErrorBody),
    500: ("the engine failed", ErrorBody),
    503: ("the server is shutting down, or the engine is down", ErrorBody),
}
RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
CHALLENGE = {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}}
HEADERS = {401: CHALLENGE, 429: RETRY, 503: RETRY}
IGNORED = {
    "x-ignored-parameters": {
        "description": "fields that do nothing here, percent-encoded, with commas between them",
        "schema": {"type": "string"},
    }
}


def document(service: Service) -> Json:
    """The document of one server: its limits, and the vocabulary if it serves one model."""
    lanes = list(service.lanes.values())
    request = lanes[0].request if len(lanes) == 1 else service.any_request
    schemes: Json = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "xi-api-key": {"type": "apiKey", "in": "header", "name": "xi-api-key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Text completions", "version": "1"},
        "paths": paths(),
        "components": {"schemas": schemas(service, request), "securitySchemes": schemes},
        "security": [{name: []} for name in schemes] if service.keys.digests else [],
    }


def schemas(service: Service, request: type[CompletionRequest]) -> Json:
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(request, "validation")]
    wanted += [(model, "serialization") for model in SENT]
    _, found = models_json_schema(wanted, ref_template="#/components/schemas/{model}")
    result: Json = found["$defs"]
    asked = result["CompletionRequest"]
    asked["properties"]["model"]["examples"] = list(service.lanes)
    asked["additionalProperties"] = not service.strict
    return result


def paths() -> Json:
    found: Json = {
        "/health": {"get": free("health", "whether requests will be answered", Health, 200, 503)},
        "/openapi.json": {"get": free("openapi", "this document", None, 200)},
    }
    for prefix, tag in ("/v1/openai", "openai_"), ("/v1", ""):
        found[f"{prefix}/completions"] = {"post": completions(f"{tag}completions")}
        found[f"{prefix}/models"] = {"get": models(f"{tag}models")}
        found[f"{prefix}/models/{{name}}"] = {"get": model(f"{tag}model")}
    return found


def completions(name: str) -> Json:
    content = {"application/json": {"schema": ref(CompletionRequest)}}
    answer = response("the completion, or with `stream` its events", Completion)
    answer["content"]["text/event-stream"] = {"schema": event()}
    return {
        "operationId": name,
        "summary": "continue a prompt",
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer | {"headers": IGNORED}} | errors(*ERRORS),
    }


def event() -> Json:
    """One server-sent event: the JSON of a chunk or of an error, or the mark of the end."""
    content = {"anyOf": [ref(Chunk), ref(ErrorBody)]}
    spelled = {"contentMediaType": "application/json", "contentSchema": content}
    data = {"type": "string", "anyOf": [{"const": "[DONE]"}, spelled]}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def models(name: str) -> Json:
    answers = {"200": response("every model", ModelList)} | errors(401)
    return {"operationId": name, "summary": "what is served", "responses": answers}


def model(name: str) -> Json:
    path = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    answers = {"200": response("the model", Model)} | errors(401, 404)
    # A name that no path can have (one with a line break) is no path either.
    either = {"anyOf": [ref(ErrorBody), ref(DetailBody)]}
    answers["404"]["content"] = {"application/json": {"schema": either}}
    return {
        "operationId": name,
        "summary": "one served model",
        "parameters": [path],
        "responses": answers,
    }


def free(name: str, summary: str, shape: type[BaseModel] | None, *statuses: int) -> Json:
    """An operation that needs no key."""
    answers = {str(status): response(summary, shape) for status in statuses}
    return {"operationId": name, "summary": summary, "security": [], "responses": answers}


def errors(*statuses: int) -> Json:
    return {
        str(status): response(*ERRORS[status]) | {"headers": HEADERS.get(status, {})}
        for status in statuses
    }


def response(description: str, shape: type[BaseModel] | None) -> Json:
    schema = ref(shape) if shape else {"type": "object"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def ref(shape: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}
