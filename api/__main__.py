"""Serve the endpoint on a socket: python -m api --model DIR"""

import argparse
import hashlib
import json
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import Progress

from api.app import create_app
from api.engine import ServedModel
from api.observability.logs import configure_logs, log_request
from api.observability.middleware import Observer
from api.openapi import Extension
from api.options.arguments import PROG, api_keys, build_parser, check_bind, is_local
from api.options.config import parse_options
from api.server import HANG_TIMEOUT, Server, listen
from reference.bundle import EMBEDDED, load_bundle, load_processor
from reference.images.limits import ImageLimits

DIGEST_BYTES = 2**16  # bytes at both ends of a file that `checkpoint_digest` reads


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
    app = create_app(
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
    )

    def on_ready(port: int) -> None:
        print(startup_message(port, served_models[0].name, options, bool(keys)), flush=True)

    server = Server(
        app,
        on_ready,
        drain_timeout=options.drain_timeout,
        watchdog_timeout=options.watchdog_timeout,
        ssl_certfile=options.ssl_certfile,
        ssl_keyfile=options.ssl_keyfile,
    )
    server.run(listen(options.host, options.port))
    return 1 if app.state.service.hung else 0


def load_extensions(
    options: argparse.Namespace, served_models: Sequence[ServedModel], stack: ExitStack
) -> list[Extension]:
    """Return the package `explain` if it is enabled; only then it is imported. The stack closes it.

    Raises ValueError if a model is too large for the reference.
    """
    if not options.explain:
        return []
    from explain.extension import ExplainExtension

    directories = [directory for _, directory in models_of(options)]
    extension = ExplainExtension.of(
        served_models, directories, options.context, image_limits(options)
    )
    stack.callback(extension.close)
    return [extension]


def models_of(options: argparse.Namespace) -> list[tuple[str, Path]]:
    """Return the name and the directory of each model."""
    return options.model or [("tiny-text", EMBEDDED / "text")]


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


def load_reference(options: argparse.Namespace, name: str, directory: Path) -> ServedModel:
    """Load a model on the executable specification. Raises ValueError or OSError."""
    from reference.engine import ReferenceEngine

    bundle = load_bundle(directory, options.context, image_limits(options))
    return ServedModel(
        name=name,
        engine=ReferenceEngine(bundle),
        tokenizer=bundle.tokenizer,
        vocabulary=bundle.vocabulary,
        vocab_size=bundle.vocab_size,
        context=bundle.context,
        image_processor=bundle.image_processor,
        build=f"reference {checkpoint_digest(directory)}",
    )


def load_jax(options: argparse.Namespace, name: str, directory: Path) -> ServedModel:
    """Load and compile a model on the JAX engine.

    Raises ValueError or OSError, and ImportError if JAX is not installed.
    """
    try:
        from jax_backend.launch import launch
    except ImportError as error:
        raise ImportError(f"--backend jax: {error} (install the extra 'jax')") from error

    processor = load_processor(directory, image_limits(options))
    with progress_bar("compiling") as progress:
        launched = launch(
            directory,
            processor.vocabulary,
            dtype=options.dtype,
            context=options.context,
            tp=options.mesh,
            slots=options.slots,
            cache_tokens=options.cache_tokens,
            batch_invariant=options.batch_invariant,
            max_logprobs=options.max_logprobs,
            speculate=options.speculate,
            platform=options.platform,
            attention=options.attention,
            progress=progress,
        )
    return ServedModel(
        name=name,
        engine=launched.engine,
        tokenizer=processor.tokenizer,
        vocabulary=processor.vocabulary,
        vocab_size=launched.config.vocab_size,
        context=launched.config.max_position_embeddings,
        image_processor=processor.image_processor,
        build=f"{launched.build} {checkpoint_digest(directory)}",
    )


def image_limits(options: argparse.Namespace) -> ImageLimits:
    return ImageLimits(images=options.max_images, pixels=options.max_image_pixels)


BACKENDS: dict[str, Callable[[argparse.Namespace, str, Path], ServedModel]] = {
    "jax": load_jax,
    "reference": load_reference,
}


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar on a terminal. Yields the function (what, done, total) to update it."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda what, done, total: bar.update(
            task, description=f"{title}: {what}", completed=done, total=total
        )


def checkpoint_digest(directory: Path) -> str:
    """Hash the name, the size, and the first and last 64 KiB of each file of a directory.

    Hashing a whole large checkpoint would take minutes.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in directory.iterdir() if p.is_file()):
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(DIGEST_BYTES)
            file.seek(max(0, size - DIGEST_BYTES))
            digest.update(repr((path.name, size, first, file.read(DIGEST_BYTES))).encode())
    return digest.hexdigest()


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
