"""The backends: from the options and a checkpoint directory to a served model."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from api.backends.checkpoint import checkpoint_digest
from api.engine import ServedModel
from reference.bundle import EMBEDDED, load_bundle, load_processor
from reference.grammar.response_format import compile_format
from reference.images.limits import ImageLimits

if TYPE_CHECKING:
    from jax_backend.multihost.settings import Hosts


def models_of(options: argparse.Namespace) -> list[tuple[str, Path]]:
    """Return the name and the directory of each model."""
    return options.model or [("tiny-text", EMBEDDED / "text")]


def load_reference(options: argparse.Namespace, name: str, directory: Path) -> ServedModel:
    """Load a model on the executable specification. Raises ValueError or OSError."""
    from reference.engine import ReferenceEngine

    if options.hosts is not None:
        raise ValueError("--hosts: needs --backend jax")
    bundle = load_bundle(directory, options.context, image_limits(options), options.kv_dtype)
    parts = ("reference", bundle.checkpoint.config.kv_dtype, checkpoint_digest(directory))
    return ServedModel(
        name=name,
        engine=ReferenceEngine(bundle),
        tokenizer=bundle.tokenizer,
        vocabulary=bundle.vocabulary,
        vocab_size=bundle.vocab_size,
        context=bundle.context,
        image_processor=bundle.image_processor,
        build=" ".join(part for part in parts if part is not None),
    )


def load_jax(options: argparse.Namespace, name: str, directory: Path) -> ServedModel:
    """Load and compile a model on the JAX engine.

    Raises ValueError or OSError, and ImportError if JAX is not installed.
    """
    try:
        from jax_backend.launch import launch
    except ImportError as error:
        raise ImportError(f"--backend jax: {error} (install the extra 'jax')") from error

    processor, digest = (
        load_processor(directory, image_limits(options)),
        checkpoint_digest(directory),
    )
    with progress_bars("loading", "compiling") as (loading, compiling):
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
            kv_dtype=options.kv_dtype,
            platform=options.platform,
            attention=options.attention,
            hosts=hosts_of(options),
            checkpoint_digest=digest,
            compile_language=compile_format,
            loading=loading,
            progress=compiling,
        )
    return ServedModel(
        name=name,
        engine=launched.engine,
        tokenizer=processor.tokenizer,
        vocabulary=processor.vocabulary,
        vocab_size=launched.config.vocab_size,
        context=launched.config.max_position_embeddings,
        image_processor=processor.image_processor,
        build=f"{launched.build} {digest}",
        is_follower=launched.is_follower,
    )


def hosts_of(options: argparse.Namespace) -> "Hosts | None":
    """Return the group that this process is one of. Raises ValueError for a wrong combination."""
    if options.hosts is None:
        for name in "rank", "coordinator", "hosts_port", "hosts_secret":
            if getattr(options, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')}: needs --hosts")
        return None
    from jax_backend.multihost.settings import Hosts

    if len(models_of(options)) > 1:
        raise ValueError("--hosts: serves a single model")
    return Hosts(
        count=None if options.hosts == "auto" else options.hosts,
        rank=options.rank,
        coordinator=options.coordinator,
        port=options.hosts_port,
        secret=options.hosts_secret or "",
    )


def image_limits(options: argparse.Namespace) -> ImageLimits:
    return ImageLimits(images=options.max_images, pixels=options.max_image_pixels)


BACKENDS: dict[str, Callable[[argparse.Namespace, str, Path], ServedModel]] = {
    "jax": load_jax,
    "reference": load_reference,
}


@contextmanager
def progress_bars(*titles: str) -> Iterator[list[Callable[[str, int, int], None]]]:
    """Show progress bars on a terminal, each from its first update on. Yields the function (what,
    done, total) to update each one.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:

        def updater(title: str) -> Callable[[str, int, int], None]:
            update = partial(bars.update, bars.add_task(title, visible=False), visible=True)
            return lambda what, done, total: update(
                description=f"{title}: {what}", completed=done, total=total
            )

        yield [updater(title) for title in titles]
