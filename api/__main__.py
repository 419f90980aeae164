"""Serve the endpoint on a socket: python -m api --model DIR"""

import argparse
import json
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import FrameType

from starlette.applications import Starlette

from api.app import create_app
from api.backends.loading import BACKENDS, image_limits, models_of
from api.engine import ServedModel
from api.observability.logs import configure_logs, log_request
from api.observability.middleware import Observer
from api.openapi import Extension
from api.options.arguments import PROG, api_keys, build_parser, check_bind, is_local
from api.options.config import parse_options
from api.server import HANG_TIMEOUT, Server, listen


def main(arguments: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Run the server. prog: the command's name in its help.

    Return exit status 0, 1 if an engine hung, or 2 after a line on stderr if it cannot start.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse_options(build_parser(BACKENDS, prog), arguments)
    configure_logs(options.log_level, options.log_format)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about oddities of the clients' images
    keys = api_keys(options)
    with ExitStack() as stack:
        try:
            check_bind(options.host, keys, options.allow_open)
            tracing = start_tracing(options.otlp_traces_endpoint, stack)
            with exit_on_sigterm():
                served_models = load_models(options, stack)
            extensions = load_extensions(options, served_models, stack)
            status = serve(options, served_models, keys, tracing, extensions)
        except (ValueError, OSError, ImportError) as error:
            return fail(error)
        for model in served_models:
            model.engine.close(HANG_TIMEOUT)
        if status or any(model.engine.stats().stalled_seconds for model in served_models):
            sys.stderr.flush()
            os._exit(1)  # the thread of an engine hangs, and would keep the process alive
    return status


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Exit with status 143 on SIGTERM. The server has its own handler, which drains.

    Process 1 of a container does not receive a signal that it has no handler for.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def start_tracing(endpoint: str | None, stack: ExitStack) -> list[Observer]:
    """Return the observer that exports traces, if there is an endpoint.

    Raises ImportError if OpenTelemetry is not installed.
    """
    if endpoint is None:
        return []
    try:
        from api.observability.tracing import Tracing, otlp_provider
    except ImportError as error:
        raise ImportError(f"--otlp-traces-endpoint: {error} (install the extra 'otel')") from error
    tracing = Tracing(otlp_provider(endpoint))
    stack.callback(tracing.close)
    return [tracing.export]


def serve(
    options: argparse.Namespace,
    served_models: Sequence[ServedModel],
    keys: list[str],
    tracing: Sequence[Observer],
    extensions: Sequence[Extension] = (),
) -> int:
    """Serve until a signal arrives, and return the exit status. Raises OSError if the address
    cannot be bound or a TLS file cannot be read.
    """
    app = build_app(options, served_models, keys, tracing, extensions)

    def on_ready(port: int) -> None:
        if served_models[0].is_follower:
            print(f"follower of {served_models[0].name}, probes at port {port}", flush=True)
        else:
            print(startup_message(port, served_models[0].name, options, bool(keys)), flush=True)

    server = Server(
        app,
        on_ready,
        drain_timeout=options.drain_timeout,
        watchdog_timeout=options.watchdog_timeout,
        stop_with_engines=options.hosts is not None,
        ssl_certfile=options.ssl_certfile,
        ssl_keyfile=options.ssl_keyfile,
    )
    server.run(listen(options.host, options.port))
    return 1 if app.state.service.failure else 0


def build_app(
    options: argparse.Namespace,
    served_models: Sequence[ServedModel],
    keys: Sequence[str],
    tracing: Sequence[Observer] = (),
    extensions: Sequence[Extension] = (),
) -> Starlette:
    """Return the app that the options describe."""
    return create_app(
        served_models,
        keys,
        max_concurrency=options.max_concurrency,
        max_response_values=options.max_response_values,
        max_logprobs=options.max_logprobs,
        max_body_bytes=options.max_body_bytes,
        strict=options.strict,
        local=is_local(options, keys),
        allowed_origins=options.allowed_origin,
        request_timeout=options.request_timeout,
        keep_alive=options.sse_keep_alive,
        observers=[log_request, *tracing],
        extensions=extensions,
        probes_only=served_models[0].is_follower,
    )


def load_extensions(
    options: argparse.Namespace, served_models: Sequence[ServedModel], stack: ExitStack
) -> list[Extension]:
    """Return the package `explain` if it is enabled; only then it is imported. The stack closes it.

    Raises ValueError if a model is too large for the reference.
    """
    if not options.explain or served_models[0].is_follower:
        return []
    from explain.extension import ExplainExtension

    directories = [directory for _, directory in models_of(options)]
    extension = ExplainExtension.of(
        served_models, directories, options.context, image_limits(options), options.kv_dtype
    )
    stack.callback(extension.close)
    return [extension]


def load_models(options: argparse.Namespace, stack: ExitStack) -> list[ServedModel]:
    """Load every model. The stack closes their engines.

    Raises ValueError, OSError, or ImportError if the backend is not installed.
    """
    models = models_of(options)
    names = options.served_model_name
    if names and len(models) > 1:
        raise ValueError("--served-model-name: needs a single --model; use --model NAME=DIR")
    served_models = []
    for name, directory in models:
        name, *aliases = names or [name]
        model = BACKENDS[options.backend](options, name, directory)
        stack.callback(model.engine.close)
        served_models.append(replace(model, aliases=tuple(aliases)))
    return served_models


def startup_message(port: int, name: str, options: argparse.Namespace, needs_key: bool) -> str:
    """Return the address of the endpoint, a curl command to paste, and the page's address."""
    host = "127.0.0.1" if options.host in ("0.0.0.0", "::", "") else options.host
    scheme = "http" if options.ssl_certfile is None else "https"
    base = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/v1/openai"
    body = json.dumps({"model": name, "prompt": "Once upon a time", "max_tokens": 40})
    key = ' -H "Authorization: Bearer $API_KEY"' if needs_key else ""
    lines = [
        f"serving {name} ({options.backend}) at {base}/completions",
        f"  curl {base}/completions{key} -d {shlex.quote(body)}",
    ]
    if options.explain:
        lines.append(f"a page that shows each sampling step: {base.removesuffix('v1/openai')}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
