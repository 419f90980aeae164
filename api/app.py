"""The endpoint as a Starlette app."""

from collections.abc import Iterable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.auth import Keys
from api.completions import Completions
from api.engine import Served
from api.errors import HANDLERS, unknown_model
from api.schema.openapi import document
from api.schema.response import Health, Model, ModelList
from api.service import Service

PREFIXES = ("/v1/openai", "/v1")


def create_app(
    served: Sequence[Served],
    keys: Iterable[str] = (),
    *,
    max_concurrency: int = 200,
    max_logprobs: int = 20,
    max_body_bytes: int = 16 * 2**20,
    strict: bool = False,
) -> Starlette:
    """The app that serves these models to whoever has one of the keys; to everybody without keys.

    max_concurrency: requests in flight for each model. strict: whether unknown fields are refused.
    `app.state.service.draining = True` turns new requests away. Raises ValueError for two models of
    one name.
    """
    service = Service(
        served=served,
        keys=Keys.of(keys),
        max_concurrency=max_concurrency,
        max_logprobs=max_logprobs,
        max_body_bytes=max_body_bytes,
        strict=strict,
    )
    if len(service.lanes) < len(served):
        raise ValueError("served: two models have the same name")
    app = Starlette(routes=routes(service), exception_handlers=HANDLERS)
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def routes(service: Service) -> list[Route]:
    """Every path. Under both prefixes the same handlers answer."""
    completions = Completions(service)
    found = [Route("/health", service_health), Route("/openapi.json", openapi)]
    for prefix in PREFIXES:
        found += [
            Route(f"{prefix}/completions", completions, methods=["POST"]),
            Route(f"{prefix}/models", models),
            Route(f"{prefix}/models/{{name:path}}", model),
        ]
    return found


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def models(request: Request) -> Response:
    """GET …/models: what is served."""
    service = service_of(request)
    service.keys.principal(request.headers)
    listed = ModelList(data=[entry(served) for served in service.served])
    return JSONResponse(listed.model_dump())


async def model(request: Request) -> Response:
    """GET …/models/{name}, where a name may have slashes."""
    service, name = service_of(request), request.path_params["name"]
    service.keys.principal(request.headers)
    if name not in service.lanes:
        raise unknown_model(name)
    return JSONResponse(entry(service.lanes[name].served).model_dump())


def entry(served: Served) -> Model:
    return Model(id=served.name, created=served.created, max_model_len=served.context)


async def service_health(request: Request) -> Response:
    """GET /health: 200 if new requests will be answered, else 503."""
    health = health_of(service_of(request))
    return JSONResponse(health.model_dump(), 200 if health.status == "ok" else 503)


def health_of(service: Service) -> Health:
    models = {name: "ok" if lane.healthy else "down" for name, lane in service.lanes.items()}
    status = "draining" if service.draining else "down" if "down" in models.values() else "ok"
    return Health.model_validate({"status": status, "models": models})


async def openapi(request: Request) -> Response:
    """GET /openapi.json."""
    return JSONResponse(document(service_of(request)))
