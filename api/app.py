"""The endpoint as a Starlette app: routes, middleware, and the list of models."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from api import health, tokenization
from api.completions import Completions
from api.engine import ServedModel
from api.errors import HANDLERS, unknown_model
from api.observability.logs import log_request
from api.observability.middleware import Observability, Observer
from api.openapi import Extension, document
from api.options.arguments import MAX_CONCURRENCY, MAX_RESPONSE_VALUES
from api.schema.response import Model, ModelList
from api.security.auth import Keys
from api.security.origins import Origins
from api.service import Service

PREFIXES = ("/v1/openai", "/v1")
Handler = Callable[[Request], Awaitable[Response]]


def create_app(
    served_models: Sequence[ServedModel],
    keys: Iterable[str] = (),
    *,
    max_concurrency: int = MAX_CONCURRENCY,
    max_response_values: int = MAX_RESPONSE_VALUES,
    max_logprobs: int = 20,
    max_body_bytes: int = 16 * 2**20,
    strict: bool = False,
    local: bool = False,
    allowed_origins: Sequence[str] = (),
    request_timeout: float | None = None,
    keep_alive: float | None = None,
    observers: Sequence[Observer] = (log_request,),
    extensions: Sequence[Extension] = (),
    probes_only: bool = False,
) -> Starlette:
    """Create the app that serves these models to clients with one of the keys.

    Without keys, no key is required. max_concurrency: sequences (prompts × n) in flight per model.
    max_response_values: size of a response, in sequences × tokens × (1 + logprobs). strict: whether
    unknown fields are a 422. local: whether requests to another host, or from a web page of another
    machine, are refused. allowed_origins: web pages that may use the server. request_timeout,
    keep_alive: see `Service`. observers: called with the record of every request that has ended.
    extensions: packages that add routes. probes_only: serve the routes of `health` only, since
    another process has the requests.
    Setting `app.state.service.draining` refuses new requests. Raises ValueError if two models have
    the same name.
    """
    service = Service(
        served_models=served_models,
        keys=Keys.from_strings(keys),
        max_concurrency=max_concurrency,
        max_response_values=max_response_values,
        max_logprobs=max_logprobs,
        max_body_bytes=max_body_bytes,
        strict=strict,
        request_timeout=request_timeout,
        keep_alive=keep_alive,
    )
    origins = Middleware(Origins, allowed=allowed_origins, local=local)
    observability = Middleware(Observability, observers=[service.metrics.observe, *observers])
    middleware = [observability, *([origins] if local or allowed_origins else [])]
    app = Starlette(
        routes=health.routes(service) if probes_only else routes(service, extensions),
        middleware=middleware,
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def routes(service: Service, extensions: Sequence[Extension] = ()) -> list[BaseRoute]:
    """Return every route. Both prefixes have the same handlers."""
    completions = Completions(service)
    result: list[BaseRoute] = [Route("/openapi.json", openapi_route(service, extensions))]
    result += health.routes(service) + tokenization.routes(service)
    for prefix in PREFIXES:
        result += [
            Route(f"{prefix}/completions", completions, methods=["POST"]),
            Route(f"{prefix}/models", list_models),
            Route(f"{prefix}/models/{{name:path}}", get_model),
        ]
    return result + [route for extension in extensions for route in extension.routes(service)]


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def list_models(request: Request) -> Response:
    """Handle GET …/models."""
    service = service_of(request)
    service.keys.principal(request.headers)
    cards = [model_card(name, handle.served_model) for name, handle in service.handles.items()]
    return JSONResponse(ModelList(data=cards).model_dump())


async def get_model(request: Request) -> Response:
    """Handle GET …/models/{name}. A name may contain slashes."""
    service, name = service_of(request), request.path_params["name"]
    service.keys.principal(request.headers)
    if name not in service.handles:
        raise unknown_model(name)
    return JSONResponse(model_card(name, service.handles[name].served_model).model_dump())


def model_card(name: str, model: ServedModel) -> Model:
    return Model(id=name, created=model.created, max_model_len=model.context)


def openapi_route(service: Service, extensions: Sequence[Extension]) -> Handler:
    """Return the handler of GET /openapi.json."""

    async def get_openapi(request: Request) -> Response:
        return JSONResponse(document(service, extensions))

    return get_openapi
