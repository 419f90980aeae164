"""Changes of requests as JSON, and the digest of a plan. Plain Python and NumPy arrays."""

import base64
import hashlib
from array import array
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from jax_backend.serving.scheduling.plan import StepPlan
from reference.grammar.language.expressions import Language
from reference.params import CompletionParams
from reference.request import Image, ImageSpan, Request

Json = dict[str, Any]
CompileLanguage = Callable[[Mapping[str, Any] | None], Language | None]  # of a response_format

DEFAULTS = CompletionParams()
DIGEST_BYTES = 16


def request_to_json(request: Request) -> Json:
    """Return a request without its language, which follows from its response_format."""
    values = {field.name: getattr(request.params, field.name) for field in fields(request.params)}
    return {
        "prompt": request.prompt,
        "params": {
            name: value
            for name, value in values.items()
            if value != getattr(DEFAULTS, name) and name != "data"
        },
        "seed": request.seed,
        "principal": request.principal,
        "images": [span_to_json(span) for span in request.images],
    }


def request_from_json(message: Json, compile_language: CompileLanguage) -> Request:
    """Return the request of `request_to_json`. Raises ValueError, KeyError or TypeError."""
    params = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in message["params"].items()
    }
    return Request(
        prompt=tuple(message["prompt"]),
        params=CompletionParams(**params),
        seed=message["seed"],
        principal=message["principal"],
        language=compile_language(params.get("response_format")),
        images=tuple(span_from_json(span) for span in message["images"]),
    )


def span_to_json(span: ImageSpan) -> Json:
    pixels = np.ascontiguousarray(span.image.pixels, "<f4")
    return {
        "start": span.start,
        "stop": span.stop,
        "shape": pixels.shape,
        "pixels": base64.b64encode(pixels.tobytes()).decode(),
    }


def span_from_json(message: Json) -> ImageSpan:
    data = np.frombuffer(base64.b64decode(message["pixels"]), "<f4")
    pixels = data.reshape(message["shape"]).astype(np.float32)
    return ImageSpan(Image.of(pixels), message["start"], message["stop"])


def plan_digest(plan: StepPlan | None) -> str:
    """Return a hash of what a step does, and of the tokens that its sequences have so far."""
    if plan is None:
        return ""
    values = array("q", [plan.num_segments, plan.is_mixed])
    for segment in plan.segments:
        start, count = segment.start, segment.num_tokens
        values.extend((segment.prefill.state.request_id, segment.index, start, count))
        values.extend(segment.pages)
    for row in plan.rows:
        sequence, token = row.sequence, -1 if row.token is None else row.token
        last = sequence.tokens[-1] if sequence.tokens else -1
        values.extend((sequence.state.request_id, sequence.index, row.slot, row.position))
        values.extend((token, last, row.is_draft, len(row.pages)))
        values.extend(row.pages)
    for copy in plan.page_copies:
        values.extend(copy)
    for admitted in plan.admitted:
        values.extend((admitted.state.request_id, admitted.index, admitted.slot or 0))
    for prefill in plan.completed:
        values.append(prefill.state.request_id)
    return hashlib.blake2b(values.tobytes(), digest_size=DIGEST_BYTES).hexdigest()
