"""Logs on stderr: one line per request, and the messages of every library, as text or JSON."""

import logging
import sys
from typing import Any

import structlog

from api.observability.record import RequestRecord

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
QUIET_PATHS = {"/live", "/ready", "/health", "/metrics"}  # logged at level debug

logger = logging.getLogger("api.requests")


def configure_logs(level: str, style: str) -> None:
    """Send every log message to stderr. level: one of LEVELS. style: one of FORMATS."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        stamp,
    ]
    order = ["timestamp", "level", "logger", "event"]
    renderers: dict[str, list[Any]] = {
        "text": [structlog.processors.LogfmtRenderer(key_order=order, drop_missing=True)],
        "json": [structlog.processors.JSONRenderer()],
    }
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *renderers[style],
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # of libraries
    logger.setLevel(level.upper())


def log_request(record: RequestRecord) -> None:
    """Write the line of a request that has ended."""
    level = logging.DEBUG if record.path in QUIET_PATHS else logging.INFO
    if logger.isEnabledFor(level):
        logger.log(level, "request", extra=request_fields(record))


def request_fields(record: RequestRecord) -> dict[str, Any]:
    """Return the fields of a log line. Times are in milliseconds; fields without a value are left
    out.
    """
    fields = {
        "request_id": record.request_id,
        "method": record.method,
        "path": record.path[:200],
        "status": record.status,
        "error": record.error,
        "model": record.model or None,
        "principal": record.principal[:12] or None,
        "completion_id": record.completion_id,
        "duration_ms": milliseconds(record.duration),
    }
    if record.completion_id is not None:
        fields |= {
            "prompt_tokens": record.prompt_tokens,
            "cached_tokens": record.cached_tokens,
            "completion_tokens": record.completion_tokens,
            "finish_reasons": ",".join(sorted(record.finish_reasons)) or None,
            "queue_ms": milliseconds(record.queue),
            "prefill_ms": milliseconds(record.prefill),
            "ttft_ms": milliseconds(record.ttft),
        }
    return {name: value for name, value in fields.items() if value is not None}


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)
