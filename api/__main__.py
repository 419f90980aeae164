"""The endpoint on a socket: python -m api --model DIR --served-model-name NAME"""

import argparse
import hashlib
import json
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from api.app import create_app
from api.arguments import check_bind, keys_of, parser
from api.engine import Served
from api.server import Server, listen
from reference.bundle import load_bundle, vocabulary
from reference.images import placement
from reference.images.decoding import ImageLimits
from reference.model import checkpoint
from reference.tokenizer import loader

EDGE = 2**16  # bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 after one line that says why nothing is served."""
    options = parser(BACKENDS).parse_args(arguments)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # one for each oddity of a client's picture
    keys = keys_of(options)
    try:
        check_bind(options.host, keys, options.allow_open)
        served = BACKENDS[options.backend](options)
    except (ValueError, OSError, ImportError) as error:
        return refused(error)
    try:
        serve(options, served, keys)
    except OSError as error:
        return refused(error)
    finally:
        served.engine.close()
    return 0


def refused(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def serve(options: argparse.Namespace, served: Served, keys: list[str]) -> None:
    """Until a signal ends it. Raises OSError if there is nothing to listen on."""
    app = create_app(
        [served],
        keys,
        max_concurrency=options.max_concurrency,
        max_logprobs=options.max_logprobs,
        max_body_bytes=options.max_body_bytes,
        strict=options.strict,
    )

    def ready(port: int) -> None:
        print(announcement(options.host, port, served.name, options, bool(keys)), flush=True)

    Server(app, ready).run(listen(options.host, options.port))


def reference(options: argparse.Namespace) -> Served:
    """The executable specification. Raises ValueError or OSError for what cannot be loaded."""
    from reference.engine import ReferenceEngine

    model = load_bundle(options.model, options.context, limits(options))
    return Served(
        name=options.served_model_name,
        engine=ReferenceEngine(model),
        tokenizer=model.tokenizer,
        vocab_size=model.vocab_size,
        context=model.context,
        sight=model.sight,
        build=f"reference {contents(options.model)}",
    )


def jax(options: argparse.Namespace) -> Served:
    """The same, batched and compiled. Raises ImportError too, if JAX is not installed."""
    try:
        from jax_backend.launch import start
    except ImportError as error:
        raise ImportError(f"--backend jax: {error} (it is in the extra 'jax')") from error

    words = loader.load_tokenizer(options.model)
    eyes = checkpoint.read_config(options.model).vision
    sight = placement.load_image_processor(options.model, eyes, words, limits(options))
    with progress_bar("compiling") as progress:
        started = start(
            options.model,
            partial(vocabulary, words),
            dtype=options.dtype,
            context=options.context,
            tp=options.mesh,
            slots=options.slots,
            cache_tokens=options.cache_tokens,
            invariant=options.batch_invariant,
            top=options.max_logprobs,
            progress=progress,
        )
    return Served(
        name=options.served_model_name,
        engine=started.engine,
        tokenizer=words,
        vocab_size=started.config.vocab_size,
        context=started.config.max_position_embeddings,
        sight=sight,
        build=f"{started.build} {contents(options.model)}",
    )


def limits(options: argparse.Namespace) -> ImageLimits:
    return ImageLimits(images=options.max_images, pixels=options.max_image_pixels)


BACKENDS: dict[str, Callable[[argparse.Namespace], Served]] = {"jax": jax, "reference": reference}


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """On the terminal, if there is one, while the block runs: a function of (what, done, total)."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda what, done, total: bar.update(
            task, description=f"{title}: {what}", completed=done, total=total
        )


def contents(directory: Path) -> str:
    """A digest of a directory's files: of each its name, its size, and its first and last 64 KiB.
    All of a large model would take minutes to read.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in directory.iterdir() if p.is_file()):
        size = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(EDGE)
            file.seek(max(0, size - EDGE))
            digest.update(repr((path.name, size, first, file.read(EDGE))).encode())
    return digest.hexdigest()


def announcement(host: str, port: int, name: str, options: argparse.Namespace, closed: bool) -> str:
    """What is served where, and a command to paste."""
    reach = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    base = f"http://{f'[{reach}]' if ':' in reach else reach}:{port}/v1/openai"
    body = json.dumps({"model": name, "prompt": "Once upon a time", "max_tokens": 40})
    key = ' -H "Authorization: Bearer $API_KEY"' if closed else ""
    return (
        f"serving {name} ({options.backend}, {options.model}) at {base}/completions\n"
        f"  curl {base}/completions{key} -d {shlex.quote(body)}"
    )


if __name__ == "__main__":
    sys.exit(main())
