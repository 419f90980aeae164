"""Probes of an operator: `/live`, `/ready`, `/health`, `/metrics` and `/version`. None needs a key.

A process that is not live must be restarted. One that is not ready gets no new requests.
"""

from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.observability.metrics import package_version
from api.schema.response import Health, Live, Version
from api.service import Service


def routes(service: Service) -> list[Route]:
    """Return the routes of the probes."""

    async def get_live(request: Request) -> Response:
        """Handle GET /live: 503 if the engine of a model has failed or hangs."""
        down = not service.draining and health_of(service).status == "down"
        live = Live(status=service.failure or ("down" if down else "ok"))
        return JSONResponse(live.model_dump(), 200 if live.status == "ok" else 503)

    async def get_health(request: Request) -> Response:
        """Handle GET /health and /ready: 200 if every model accepts requests, else 503."""
        health = health_of(service)
        return JSONResponse(health.model_dump(), 200 if health.status == "ok" else 503)

    async def get_metrics(request: Request) -> Response:
        """Handle GET /metrics, in the format that `Accept` asks for."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(service.metrics.registry), headers={"content-type": content_type})

    async def get_version(request: Request) -> Response:
        """Handle GET /version."""
        return JSONResponse(Version(version=package_version()).model_dump())

    return [
        Route("/live", get_live),
        Route("/ready", get_health),
        Route("/health", get_health),
        Route("/metrics", get_metrics),
        Route("/version", get_version),
    ]


def health_of(service: Service) -> Health:
    """Return the state of the server and of each model."""
    models = {
        model.name: "ok" if service.handles[model.name].healthy else "down"
        for model in service.served_models
    }
    status = "draining" if service.draining else "down" if "down" in models.values() else "ok"
    return Health.model_validate({"status": status, "models": models})
