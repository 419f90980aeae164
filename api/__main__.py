"""Serve the endpoint on a socket: python -m api --model DIR --served-model-name NAME"""

import argparse
import hashlib
import json
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import Progress

from api.app import create_app
from api.arguments import api_keys, build_parser, check_bind
from api.engine import ServedModel
from api.server import Server, listen
from reference.bundle import load_bundle, load_processor
from reference.images.decoding import ImageLimits

DIGEST_BYTES = 2**16  # bytes at both ends of a file that `checkpoint_digest` reads


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server. Return exit status 0, or 2 after a line on stderr if it cannot start."""
    options = build_parser(BACKENDS).parse_args(arguments)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about oddities of the clients' images
    keys = api_keys(options)
    try:
        check_bind(options.host, keys, options.allow_open)
        with exit_on_sigterm():
            served_model = BACKENDS[options.backend](options)
    except (ValueError, OSError, ImportError) as error:
        return fail(error)
    try:
        serve(options, served_model, keys)
    except OSError as error:
        return fail(error)
    finally:
        served_model.engine.close()
    return 0


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


def serve(options: argparse.Namespace, served_model: ServedModel, keys: list[str]) -> None:
    """Serve until a signal arrives. Raises OSError if the address cannot be bound."""
    app = create_app(
        [served_model],
        keys,
        max_concurrency=options.max_concurrency,
        max_logprobs=options.max_logprobs,
        max_body_bytes=options.max_body_bytes,
        strict=options.strict,
    )

    def on_ready(port: int) -> None:
        message = startup_message(options.host, port, served_model.name, options, bool(keys))
        print(message, flush=True)

    Server(app, on_ready).run(listen(options.host, options.port))


def load_reference(options: argparse.Namespace) -> ServedModel:
    """Load a model on the executable specification. Raises ValueError or OSError."""
    from reference.engine import ReferenceEngine

    bundle = load_bundle(options.model, options.context, image_limits(options))
    return ServedModel(
        name=options.served_model_name,
        engine=ReferenceEngine(bundle),
        tokenizer=bundle.tokenizer,
        vocab_size=bundle.vocab_size,
        context=bundle.context,
        image_processor=bundle.image_processor,
        build=f"reference {checkpoint_digest(options.model)}",
    )


def load_jax(options: argparse.Namespace) -> ServedModel:
    """Load and compile a model on the JAX engine.

    Raises ValueError or OSError, and ImportError if JAX is not installed.
    """
    try:
        from jax_backend.launch import launch
    except ImportError as error:
        raise ImportError(f"--backend jax: {error} (install the extra 'jax')") from error

    processor = load_processor(options.model, image_limits(options))
    with progress_bar("compiling") as progress:
        launched = launch(
            options.model,
            processor.vocabulary,
            dtype=options.dtype,
            context=options.context,
            tp=options.mesh,
            slots=options.slots,
            cache_tokens=options.cache_tokens,
            batch_invariant=options.batch_invariant,
            max_logprobs=options.max_logprobs,
            progress=progress,
        )
    return ServedModel(
        name=options.served_model_name,
        engine=launched.engine,
        tokenizer=processor.tokenizer,
        vocab_size=launched.config.vocab_size,
        context=launched.config.max_position_embeddings,
        image_processor=processor.image_processor,
        build=f"{launched.build} {checkpoint_digest(options.model)}",
    )


def image_limits(options: argparse.Namespace) -> ImageLimits:
    return ImageLimits(images=options.max_images, pixels=options.max_image_pixels)


BACKENDS: dict[str, Callable[[argparse.Namespace], ServedModel]] = {
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


def startup_message(
    host: str, port: int, name: str, options: argparse.Namespace, needs_key: bool
) -> str:
    """Return the address of the endpoint, and a curl command to paste."""
    display_host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    base = f"http://{f'[{display_host}]' if ':' in display_host else display_host}:{port}/v1/openai"
    body = json.dumps({"model": name, "prompt": "Once upon a time", "max_tokens": 40})
    key = ' -H "Authorization: Bearer $API_KEY"' if needs_key else ""
    return (
        f"serving {name} ({options.backend}, {options.model}) at {base}/completions\n"
        f"  curl {base}/completions{key} -d {shlex.quote(body)}"
    )


if __name__ == "__main__":
    sys.exit(main())
