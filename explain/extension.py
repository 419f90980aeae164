"""The extension of the endpoint's app: the routes, their bodies and their operations."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel
from starlette.routing import BaseRoute, Route

from api.engine import ServedModel
from api.openapi import errors, response
from api.schema.request import CompletionRequest
from api.service import Service
from explain import page
from explain.endpoint import Explain
from explain.engine import ExplainedModel, Models, check_size
from explain.limits import MAX_CONCURRENCY, MAX_LOGITS, MAX_TOKENS
from explain.schema import explain_model
from reference.bundle import load_bundle
from reference.engine import ReferenceEngine
from reference.images.limits import ImageLimits
from reference.model.config import AUTO

PATH = "/v1/explain"

Json = dict[str, Any]


@dataclass(frozen=True)
class ExplainExtension:
    """The endpoint and the page, for each served model."""

    models: Models

    @classmethod
    def of(
        cls,
        served_models: Sequence[ServedModel],
        directories: Sequence[Path],
        context: int | None = None,
        limits: ImageLimits | None = None,
        kv_dtype: str = AUTO,
    ) -> Self:
        """Build the extension of some models, from the directories of their checkpoints.

        Raises ValueError if the reference cannot hold one of them.
        """
        models = {}
        for served_model, directory in zip(served_models, directories, strict=True):
            check_size(served_model.name, directory)
            load = partial(load_bundle, directory, context, limits, kv_dtype)
            if isinstance(engine := served_model.engine, ReferenceEngine):
                load = partial(getattr, engine, "model")  # the weights are in memory already
            models[served_model.name] = ExplainedModel(served_model, load)
        return cls(models)

    def routes(self, service: Service) -> list[BaseRoute]:
        endpoint = Route(PATH, Explain(service, self.models), methods=["POST"])
        return [endpoint, *page.routes()]

    def bodies(self, request: type[CompletionRequest]) -> list[type[BaseModel]]:
        return [explain_model(request)]

    def paths(self, service: Service) -> Json:
        body = {"schema": {"$ref": "#/components/schemas/ExplainRequest"}}
        data = {"type": "string", "contentMediaType": "application/json"}
        event = {"type": "object", "properties": {"data": data}, "required": ["data"]}
        success = response("the events", None) | {
            "content": {"text/event-stream": {"schema": event}}
        }
        operation = {
            "operationId": "explain",
            "summary": "continue a prompt, and explain each token",
            "description": "A stream of the events of a completion. The first event has the seed "
            "and the tokens of the prompt; before the event of each token, one has its "
            "distribution after each sampling step, the tokens that a step removed and why, and "
            f"the draw. One prompt, at most {MAX_TOKENS} tokens (n × max_tokens), {MAX_LOGITS} "
            f"logits and {MAX_CONCURRENCY} sequences of a model at a time.",
            "requestBody": {"required": True, "content": {"application/json": body}},
            "responses": {"200": success}
            | errors(400, 401, 403, 404, 413, 422, 429, 500, 503, 504),
        }
        return {PATH: {"post": operation}}

    def close(self) -> None:
        """Close the engines that were loaded."""
        for model in self.models.values():
            model.close()
