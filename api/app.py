"""The endpoint as a Starlette app: routes, the list of models, and the health check."""

from collections.abc import Iterable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.arguments import MAX_CONCURRENCY, MAX_RESPONSE_VALUES
from api.auth import Keys
from api.completions import Completions
from api.engine import ServedModel
from api.errors import HANDLERS, unknown_model
from api.openapi import document
from api.origins import Origins
from api.schema.response import Health, Model, ModelList
from api.service import Service

PREFIXES = ("/v1/openai", "/v1")


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
) -> Starlette:
    """Create the app that serves these models to clients with one of the keys.

    Without keys, no key is required. max_concurrency: sequences (prompts × n) in flight per model.
    max_response_values: size of a response, in sequences × tokens × (1 + logprobs). strict: whether
    unknown fields are a 422. local: whether requests to another host, or from a web page of another
    machine, are refused. allowed_origins: web pages that may use the server. Setting
    `app.state.service.draining` refuses new requests. Raises ValueError if two models have the same
    name.
    """
    service = Service(
        served_models=served_models,
        keys=Keys.from_strings(keys),
        max_concurrency=max_concurrency,
        max_response_values=max_response_values,
        max_logprobs=max_logprobs,
        max_body_bytes=max_body_bytes,
        strict=strict,
    )
    if len(service.handles) < len(served_models):
        raise ValueError("served_models: two models have the same name")
    origins = Middleware(Origins, allowed=allowed_origins, local=local)
    middleware = [origins] if local or allowed_origins else []
    app = Starlette(routes=routes(service), middleware=middleware, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def routes(service: Service) -> list[Route]:
    """Return every route. Both prefixes have the same handlers."""
    completions = Completions(service)
    result = [Route("/health", get_health), Route("/openapi.json", get_openapi)]
    for prefix in PREFIXES:
        result += [
            Route(f"{prefix}/completions", completions, methods=["POST"]),
            Route(f"{prefix}/models", list_models),
            Route(f"{prefix}/models/{{name:path}}", get_model),
        ]
    return result


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def list_models(request: Request) -> Response:
    """Handle GET …/models."""
    service = service_of(request)
    service.keys.principal(request.headers)
    cards = ModelList(data=[model_card(model) for model in service.served_models])
    return JSONResponse(cards.model_dump())


async def get_model(request: Request) -> Response:
    """Handle GET …/models/{name}. A name may contain slashes."""
    service, name = service_of(request), request.path_params["name"]
    service.keys.principal(request.headers)
    if name not in service.handles:
        raise unknown_model(name)
    return JSONResponse(model_card(service.handles[name].served_model).model_dump())


def model_card(model: ServedModel) -> Model:
    return Model(id=model.name, created=model.created, max_model_len=model.context)


async def get_health(request: Request) -> Response:
    """Handle GET /health: 200 if the server accepts requests for every model, else 503."""
    health = health_of(service_of(request))
    return JSONResponse(health.model_dump(), 200 if health.status == "ok" else 503)


def health_of(service: Service) -> Health:
    models = {name: "ok" if handle.healthy else "down" for name, handle in service.handles.items()}
    status = "draining" if service.draining else "down" if "down" in models.values() else "ok"
    return Health.model_validate({"status": status, "models": models})


async def get_openapi(request: Request) -> Response:
    """Handle GET /openapi.json."""
    return JSONResponse(document(service_of(request)))
